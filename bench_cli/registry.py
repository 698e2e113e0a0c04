"""Backends and workloads by name. Nothing is imported until it is selected.

A backend is named ``engine.variant``; the twin (``core``) is a parameter. Foreign backends come
from installed packages (entry points in the group ``bench_cli.backends``) or, where a scenario
names ``module:Class``, from any importable module: that runs code and needs ``--allow-code``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from bench_cli.errors import CoreUnavailable, UnknownName, UsageError
from bench_cli.interfaces import (
    Backend,
    Capability,
    CommittedLog,
    LogBackend,
    LogOptions,
    Workload,
)

CORES = ("native", "python")
ENTRY_POINTS = "bench_cli.backends"
NATIVE_MODULES = tuple(
    f"bench_cli.{room}.native" for room in ("wal", "rewards", "cache", "workloads", "runner")
)
NATIVE_REMEDY = (
    "install a C compiler (gcc or clang) and the Python headers, then `make -B install` "
    "(or `pip install --force-reinstall .`); `--core python` runs the Python twins"
)


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """Where a backend lives: per core, ``module:Class``."""

    name: str
    engine: str
    summary: str
    cores: dict[str, str]
    origin: str = "built in"


_BUILT_IN = (
    BackendEntry("wal.none", "wal", "keeps nothing: the cost of logging without a log",
                 {"native": "bench_cli.wal.native:NoneBackend",
                  "python": "bench_cli.wal.log:NoneBackend"}),
    BackendEntry("wal.basic", "wal", "appends to a file, one write per record or batch",
                 {"native": "bench_cli.wal.native:BasicBackend",
                  "python": "bench_cli.wal.log:BasicBackend"}),
    BackendEntry("wal.mmap", "wal", "stores into preallocated, mapped segments",
                 {"native": "bench_cli.wal.native:MmapBackend",
                  "python": "bench_cli.wal.log:MmapBackend"}),
    BackendEntry("cache.block", "cache", "4 MiB block buffers in front of a block store",
                 {"native": "bench_cli.cache.native:Backend",
                  "python": "bench_cli.cache.python:Backend"}),
    BackendEntry("rewards.pool", "rewards", "weighted draws from finite stock, logged",
                 {"native": "bench_cli.rewards.native:Backend",
                  "python": "bench_cli.rewards.pool:Backend"}),
    BackendEntry("synthetic.clock", "synthetic", "does nothing, on a virtual clock with noise",
                 {"python": "bench_cli.peers.synthetic:Backend"}),
    BackendEntry("synthetic.slower", "synthetic", "the same, a tenth slower",
                 {"python": "bench_cli.peers.synthetic:SlowerBackend"}),
)  # fmt: skip

_POLICIES = "bench_cli.wal.flush:FlushedLog"
_WORKLOAD_MODULES = {
    "limits": "bench_cli.workloads.limits",
    "wal": "bench_cli.workloads.wal",
    "wal.commit": "bench_cli.workloads.wal_commit",
    "wal.rotate": "bench_cli.workloads.wal_rotate",
    "wal.snapshot": "bench_cli.workloads.rewards_snapshot",
    "rewards": "bench_cli.workloads.rewards",
    "cache": "bench_cli.workloads.cache_files",
    "synthetic": "bench_cli.workloads.synthetic",
}
"""By the first word of a workload's name, or by the whole of it where it lives elsewhere."""


LISTED = 30


def closest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest names, or lists them when none is near: all, or as many
    as can be read at a glance."""
    import difflib  # every worker imports this module, and hardly one needs it

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(near) + "?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return "known: " + ", ".join(names[:LISTED]) + more


def not_built(module: str) -> str | None:
    """Why one compiled module cannot be used; None when it can."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        return f"the compiled twin {module} is not built"
    except (ImportError, ValueError) as error:  # ValueError: built against another version
        return f"the compiled twin {module} cannot be loaded ({error})"
    return None


def built_in_modules() -> tuple[str, ...]:
    """Every module that holds a built-in backend, and the other compiled ones."""
    found = [target.partition(":")[0] for one in _BUILT_IN for target in one.cores.values()]
    return tuple(dict.fromkeys([*NATIVE_MODULES, *found]))


@cache
def native_missing() -> str | None:
    """Why the compiled twins cannot be used; None when all of them can."""
    return next(filter(None, map(not_built, NATIVE_MODULES)), None)


def default_core() -> str:
    return "python" if native_missing() else "native"


@cache
def backends() -> dict[str, BackendEntry]:
    """All backends that can be named, ours and those of installed packages."""
    from importlib import metadata  # slow to import, and a worker with our own backends needs none

    found = {entry.name: entry for entry in _BUILT_IN}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        engine = point.name.partition(".")[0]
        found.setdefault(
            point.name,
            BackendEntry(point.name, engine, "from an installed package",
                         {"python": point.value}, origin=point.value),
        )  # fmt: skip
    return found


def is_code(name: str) -> bool:
    """Whether a backend name is ``module:Class`` and thus runs code when resolved."""
    return ":" in name


def _load(target: str) -> type[Any]:
    module_name, _, attribute = target.partition(":")
    try:
        return cast("type[Any]", getattr(importlib.import_module(module_name), attribute))
    except (ImportError, AttributeError) as error:
        raise UnknownName(
            f"backend {target!r} cannot be loaded: {error}",
            remedy="check that the module is importable from here (PYTHONPATH) and names the class",
        ) from error


def cores_of(name: str) -> tuple[str, ...]:
    """The twins a backend has. Foreign backends run as one, called "python"."""
    if is_code(name):
        return ("python",)
    return tuple(entry_of(name).cores)


def entry_of(name: str) -> BackendEntry:
    for entry in _BUILT_IN:
        if entry.name == name:
            return entry
    known = backends()
    if name not in known:
        raise UnknownName(f"no backend {name!r}; {closest(name, known)}",
                          remedy="`bench backends` lists them")  # fmt: skip
    return known[name]


def resolve(name: str, core: str | None, *, allow_code: bool = False) -> Backend:
    """The backend object for one twin. A requested core is never replaced by another; a foreign
    backend has no twin and is the same under both."""
    if is_code(name):
        if not allow_code:
            raise UsageError(f"backend {name!r} runs code from a module",
                             remedy="add --allow-code if you trust it")  # fmt: skip
        return cast(Backend, _load(name)())
    entry = entry_of(name)
    if "native" not in entry.cores:
        return cast(Backend, _load(entry.cores["python"])())
    wanted = core or default_core()
    if wanted == "native" and (missing := not_built(entry.cores[wanted].partition(":")[0])):
        raise CoreUnavailable(f"core native: {missing}", remedy=NATIVE_REMEDY)
    return cast(Backend, _load(entry.cores[wanted])())


def open_committed(backend: LogBackend, directory: Path, options: LogOptions) -> CommittedLog:
    """Open a log under ``options.flush``. One that knows no policies stands behind our Python
    twin's, and can then not be appended to while it is synced."""
    if options.flush is None:
        raise ValueError("a committed log needs a flush policy")
    if Capability.COMMIT in backend.capabilities:
        return cast(CommittedLog, backend.open(directory, options))
    log = backend.open(directory, replace(options, flush=None, clock=None))
    return cast(CommittedLog, _load(_POLICIES)(log, options.flush, options.clock))


@cache
def _workloads_of(family: str) -> dict[str, Workload]:
    module = importlib.import_module(_WORKLOAD_MODULES[family])
    return {workload.name: workload for workload in module.WORKLOADS}


@cache
def workloads() -> dict[str, Workload]:
    """All workloads by name."""
    return {
        name: one for family in _WORKLOAD_MODULES for name, one in _workloads_of(family).items()
    }


def workload_of(name: str) -> Workload:
    """Imports only the family it belongs to: a worker runs one row."""
    family = name if name in _WORKLOAD_MODULES else name.partition(".")[0]
    if family in _WORKLOAD_MODULES and name in _workloads_of(family):
        return _workloads_of(family)[name]
    raise UnknownName(f"no workload {name!r}; {closest(name, workloads())}",
                      remedy="`bench list --workloads` lists them")  # fmt: skip
