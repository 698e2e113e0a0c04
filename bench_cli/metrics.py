"""Each metric, declared once: id, unit, direction, kind, floors and heading.

Nowhere else is there an ``if`` per metric. Values in memory and in files are in base units
(nanoseconds, bytes, counts); scaling happens in tables only. A metric that does not apply to a
row is absent from it, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a change in a metric is judged."""

    EXACT = "exact"  # deterministic: any change counts
    TIGHT = "tight"  # nearly deterministic: a small floor
    NOISY = "noisy"  # time and what depends on it: needs statistics


class Direction(StrEnum):
    LOWER = "lower"  # lower is better
    HIGHER = "higher"
    NEUTRAL = "neutral"  # informative: a change is shown and never judged


class Unit(StrEnum):
    NANOSECONDS = "ns"
    BYTES = "B"
    BYTES_PER_SECOND = "B/s"
    PER_SECOND = "/s"
    COUNT = "count"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``relative_floor`` (a fraction) and ``absolute_floor`` (in ``unit``) are the
    smallest changes that matter; a change must pass both. ``interpreter_bound``: exact only
    within one version of Python."""

    id: str
    unit: Unit
    direction: Direction
    kind: Kind
    heading: str
    description: str
    relative_floor: float = 0.0
    absolute_floor: float = 0.0
    interpreter_bound: bool = False


_L, _H, _N = Direction.LOWER, Direction.HIGHER, Direction.NEUTRAL
_E, _T, _Y = Kind.EXACT, Kind.TIGHT, Kind.NOISY
_TIME_FLOOR = 0.03  # 3 %: below this, machines disagree with themselves
_TAIL_FLOOR = 0.10  # a tail rests on few operations: ten of them lie beyond a percentile

_DECLARED = (
    Metric(
        "ns_per_op",
        Unit.NANOSECONDS,
        _L,
        _Y,
        "ns/op",
        "time of one operation, loop overhead subtracted",
        _TIME_FLOOR,
    ),
    Metric(
        "run_ns_per_op",
        Unit.NANOSECONDS,
        _L,
        _Y,
        "run ns/op",
        "time of one operation in the quickest tenth of the batches, without waiting for a core "
        "that other processes had: what A/B sessions judge",
        _TIME_FLOOR,
    ),
    Metric("ops_per_s", Unit.PER_SECOND, _H, _Y, "ops/s", "operations per second", _TIME_FLOOR),
    Metric("draws_per_s", Unit.PER_SECOND, _H, _Y, "draws/s", "draws per second", _TIME_FLOOR),
    Metric(
        "bytes_per_s",
        Unit.BYTES_PER_SECOND,
        _H,
        _Y,
        "GB/s",
        "payload bytes per second, decimal",
        _TIME_FLOOR,
    ),
    Metric(
        "overhead_share",
        Unit.RATIO,
        _N,
        _Y,
        "loop",
        "share of the raw time that was loop overhead and was subtracted",
    ),
    Metric(
        "slowest_bytes_per_s",
        Unit.BYTES_PER_SECOND,
        _H,
        _Y,
        "slowest",
        "the slowest interval of a sustained run",
        0.10,
    ),
    Metric(
        "slowest_blocked_share",
        Unit.RATIO,
        _N,
        _Y,
        "of it blocked",
        "share of the slowest interval in which its thread neither ran nor waited for a core: it "
        "waited for the disk, or for a thread of the log's own that did",
    ),
    Metric(
        "p50_ns",
        Unit.NANOSECONDS,
        _L,
        _Y,
        "p50",
        "latency half of the operations keep: response in an open loop, service in a closed one",
        _TIME_FLOOR,
    ),
    Metric("p90_ns", Unit.NANOSECONDS, _L, _Y, "p90", "latency nine of ten keep", _TIME_FLOOR),
    Metric("p99_ns", Unit.NANOSECONDS, _L, _Y, "p99", "latency 99 of 100 keep", _TAIL_FLOOR),
    Metric("p999_ns", Unit.NANOSECONDS, _L, _Y, "p99.9", "latency 999 of 1,000 keep", _TAIL_FLOOR),
    Metric("max_ns", Unit.NANOSECONDS, _L, _Y, "max", "the longest latency", _TAIL_FLOOR),
    Metric(
        "alloc_bytes_per_op",
        Unit.BYTES,
        _L,
        _E,
        "alloc B/op",
        "heap bytes allocated per operation, counted at the allocator",
        interpreter_bound=True,
    ),
    Metric(
        "allocs_per_op",
        Unit.COUNT,
        _L,
        _E,
        "allocs/op",
        "heap allocations per operation, counted at the allocator",
        interpreter_bound=True,
    ),
    Metric(
        "gc_count",
        Unit.COUNT,
        _L,
        _E,
        "GCs",
        "collector runs, all generations, in the counting pass",
        interpreter_bound=True,
    ),
    Metric(
        "gc_gen0",
        Unit.COUNT,
        _L,
        _E,
        "GC gen0",
        "collector runs of generation 0",
        interpreter_bound=True,
    ),
    Metric(
        "gc_gen1",
        Unit.COUNT,
        _L,
        _E,
        "GC gen1",
        "collector runs of generation 1",
        interpreter_bound=True,
    ),
    Metric(
        "gc_gen2",
        Unit.COUNT,
        _L,
        _E,
        "GC gen2",
        "collector runs of generation 2",
        interpreter_bound=True,
    ),
    Metric(
        "gc_timed",
        Unit.COUNT,
        _N,
        _Y,
        "GCs timed",
        "collector runs during the timed samples, all generations",
    ),
    Metric(
        "wal_bytes_per_op",
        Unit.BYTES,
        _L,
        _E,
        "WAL B/op",
        "bytes the log grew by, per operation, in the counting pass",
    ),
    Metric(
        "wal_file_size",
        Unit.BYTES,
        _L,
        _E,
        "WAL size",
        "logical end of the log after the counting pass",
    ),
    Metric(
        "wal_allocated_bytes",
        Unit.BYTES,
        _N,
        _T,
        "WAL allocated",
        "bytes the file system gave to the log",
    ),
    Metric(
        "max_unsynced_ns",
        Unit.NANOSECONDS,
        _N,
        _Y,
        "unsynced",
        "the longest time a written record was not durable, in the counting pass",
    ),
    Metric(
        "records_per_sync",
        Unit.COUNT,
        _N,
        _Y,
        "records/sync",
        "records that one sync made durable, on average, in the counting pass",
    ),
    Metric(
        "written_bytes_per_op",
        Unit.BYTES,
        _L,
        _E,
        "written B/op",
        "bytes the kernel was asked to write, per operation, in the counting pass",
    ),
    Metric(
        "write_calls_per_op",
        Unit.COUNT,
        _L,
        _E,
        "writes/op",
        "write system calls per operation, in the counting pass",
    ),
    Metric("exact_ops", Unit.COUNT, _N, _E, "ops counted", "operations of the counting pass"),
    Metric(
        "minor_faults_per_op", Unit.COUNT, _N, _Y, "faults/op", "minor page faults per operation"
    ),
    Metric("major_faults", Unit.COUNT, _N, _Y, "major faults", "page faults that read a disk"),
    Metric(
        "cpu_user_ns_per_op",
        Unit.NANOSECONDS,
        _N,
        _Y,
        "user/op",
        "CPU time in user mode per operation, all threads",
    ),
    Metric(
        "cpu_sys_ns_per_op",
        Unit.NANOSECONDS,
        _N,
        _Y,
        "sys/op",
        "CPU time in the kernel per operation, all threads",
    ),
    Metric(
        "voluntary_switches",
        Unit.COUNT,
        _N,
        _Y,
        "switches",
        "context switches the process asked for, per sample",
    ),
    Metric(
        "involuntary_switches",
        Unit.COUNT,
        _N,
        _Y,
        "preempted",
        "context switches forced on the process, per sample",
    ),
    Metric("peak_rss_bytes", Unit.BYTES, _N, _Y, "peak RSS", "largest resident set"),
    Metric(
        "prepare_ns_per_op",
        Unit.NANOSECONDS,
        _N,
        _Y,
        "prepare/op",
        "untimed preparation (pools, faulting ahead) per operation",
    ),
    Metric(
        "resident_bytes_per_op",
        Unit.BYTES,
        _L,
        _E,
        "resident/file",
        "buffer memory the system gave, per file",
    ),
    Metric(
        "limit_share",
        Unit.RATIO,
        _H,
        _Y,
        "% of limit",
        "speed as a share of the machine's own limit, per process, median",
    ),
)

METRICS: dict[str, Metric] = {metric.id: metric for metric in _DECLARED}
