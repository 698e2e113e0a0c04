"""What the process did besides taking time: collector runs, page faults, CPU, switches, writes.

Readings are cumulative; the difference of two belongs to what ran between them. The allocation
count is a pass of its own (``count_pass``), because a counting allocator slows what it counts.
"""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

_SELF_IO = Path("/proc/self/io")


@dataclass(slots=True)
class Counters:
    """Counts; CPU times in nanoseconds, sizes in bytes."""

    gc_gen0: int = 0
    gc_gen1: int = 0
    gc_gen2: int = 0
    minor_faults: int = 0
    major_faults: int = 0
    cpu_user_ns: int = 0
    cpu_sys_ns: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0

    def __sub__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def gc_runs(self) -> int:
        return self.gc_gen0 + self.gc_gen1 + self.gc_gen2


def read_counters() -> Counters:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    collections = [generation["collections"] for generation in gc.get_stats()]
    return Counters(
        gc_gen0=collections[0],
        gc_gen1=collections[1],
        gc_gen2=collections[2],
        minor_faults=usage.ru_minflt,
        major_faults=usage.ru_majflt,
        cpu_user_ns=round(usage.ru_utime * 1e9),
        cpu_sys_ns=round(usage.ru_stime * 1e9),
        voluntary_switches=usage.ru_nvcsw,
        involuntary_switches=usage.ru_nivcsw,
    )


def peak_rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux reports KiB


def read_written() -> tuple[int, int] | None:
    """(bytes the kernel was asked to write, write system calls) of this process so far; None
    where the system does not say."""
    try:
        lines = _SELF_IO.read_text().splitlines()
    except OSError:
        return None
    found = dict(line.split(": ") for line in lines)
    return int(found["wchar"]), int(found["syscw"])


@dataclass(frozen=True, slots=True)
class Counted:
    """One run under the counting allocator. ``allocations`` and ``allocated`` are None without
    the native module."""

    allocations: int | None
    allocated: int | None
    written: tuple[int, int] | None
    gc_runs: tuple[int, int, int]


def count_pass(run: Callable[[], None]) -> Counted:
    """Call ``run`` once and count. Deterministic work gives the same counts every time."""
    count_allocations = _allocation_counter()
    gc.collect()
    gc.freeze()
    before, written = read_counters(), read_written()
    allocations: int | None = None
    allocated: int | None = None
    if count_allocations is None:
        run()
    else:
        allocations, allocated = count_allocations(run)
    after_written = read_written()
    spent = read_counters() - before
    return Counted(
        allocations,
        allocated,
        _difference(written, after_written),
        (spent.gc_gen0, spent.gc_gen1, spent.gc_gen2),
    )


def _allocation_counter() -> Callable[[Callable[[], None]], tuple[int, int]] | None:
    """None without a compiler: the columns are then absent and the table says why."""
    try:
        from bench_cli.runner.native import count_allocations
    except ImportError:
        return None
    return count_allocations


def _difference(
    before: tuple[int, int] | None, after: tuple[int, int] | None
) -> tuple[int, int] | None:
    if before is None or after is None:
        return None
    return after[0] - before[0], after[1] - before[1]
