"""How durable a row is: what its backend declares, the log below it, and what is proven of both."""

from __future__ import annotations

from dataclasses import replace

from bench_cli import registry
from bench_cli.cells import Cell
from bench_cli.evidence import Evidence, key_of, settings_of
from bench_cli.flushing import flushed
from bench_cli.interfaces import Capability, Durability


def durability_of(cell: Cell, evidence: Evidence, *, allow_code: bool) -> Durability | None:
    """The level under the row's parameters and what is proven of it; None for limits, which have
    no backend."""
    if cell.backend is None:
        return None
    log = cell.params.get("wal")
    key = key_of(
        cell.backend,
        str(log) if log and log != "none" else None,
        cell.core or "",
        str(cell.params.get("format", "binary")),
    )
    synced = registry.workload_of(cell.workload).synced
    level = _declared(cell, cell.backend, allow_code)
    return evidence.mark(level, key, settings_of(cell.params, synced=synced))


def _declared(cell: Cell, name: str, allow_code: bool) -> Durability:
    """A row that stands on a log is at most as good as that log."""
    backend = registry.resolve(name, cell.core, allow_code=allow_code)
    own = backend.durability(cell.params)
    if Capability.COMMIT not in backend.capabilities:  # the policy is ours, in front of it
        own = flushed(own, cell.params.get("flush"))
    if registry.workload_of(cell.workload).synced and Capability.SYNC in backend.capabilities:
        own = replace(own, level="D3", window=None)
    under = cell.params.get("wal")
    if not under or under == "none":
        return own
    log = registry.resolve(str(under), cell.core, allow_code=allow_code)
    if Capability.WAL in backend.capabilities:  # a cache is as durable as the log under it
        return log.durability(cell.params)
    return weaker(own, log.durability(cell.params), syncs=Capability.SYNC in log.capabilities)


def weaker(own: Durability, log: Durability, *, syncs: bool) -> Durability:
    """``own`` is what the engine's policy gives on a perfect log. A log that cannot sync, or
    keeps nothing, lowers the level; integrity and damage are never better than the log's."""
    level = own
    if log.level == "D0" or (not syncs and log.level < own.level):
        level = log
    return replace(
        level,
        integrity=min(own.integrity, log.integrity),
        damage=min(own.damage, log.damage),
    )
