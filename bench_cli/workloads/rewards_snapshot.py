"""What a snapshot costs: the state of a pool, durable beside its log, the log shortened.

The pool draws before each one, untimed. What it wrote is read back by a recovery of a copy: every
draw is in the snapshots and the log, once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any, cast

from bench_cli.errors import Unsupported
from bench_cli.interfaces import (
    BodyInfo,
    Capability,
    LogBackend,
    Needs,
    Parameter,
    PoolBackend,
    Setting,
    SnapshotInfo,
    SnapshotPool,
)
from bench_cli.workloads.base import MIB, Declared, PlainBody, choice, count, expect, size
from bench_cli.workloads.rewards import PLENTY, catalogue
from bench_cli.workloads.wal import log_options

LONGEST_CHAIN = 16
"""A full snapshot is taken, untimed, when so many have been added: each checks that its bases are
still there, and the time of one should not depend on how long the run took."""


class SnapshotBody(PlainBody):
    """One snapshot after ``draws`` draws."""

    def __init__(self, setting: Setting) -> None:
        assert setting.backend is not None  # a pool row always names its backend
        params = setting.params
        self.seed = setting.seed
        self.backend = cast(PoolBackend, setting.engines.resolve(setting.backend))
        self.log_backend = cast(LogBackend, setting.engines.resolve(str(params["wal"])))
        if Capability.RECOVERY not in self.log_backend.capabilities:
            raise Unsupported(f"{params['wal']} keeps nothing that a snapshot could shorten")
        self.options = log_options(params)
        self.place = setting.scratch / "log"
        self.copy = setting.scratch / "copy"
        self.items = catalogue(int(params["items"]), PLENTY, "skewed")
        self.incremental = params["kind"] == "incremental"
        self.draws = int(params["draws"])
        self.log = self.log_backend.open(self.place, self.options)
        self.pool = cast(
            SnapshotPool, self.backend.open(self.items, seed=setting.seed, log=self.log)
        )
        self.taken: SnapshotInfo | None = None  # by the last run
        self.chain = 0  # snapshots that the next one adds to
        self.info = BodyInfo(1)

    def prepare(self) -> None:
        """Not every run is verified, so it is here that they are counted."""
        self.chain += self.taken is not None
        self.taken = None
        if self.incremental and not 0 < self.chain < LONGEST_CHAIN:
            self.pool.snapshot(self.place)
            self.chain = 1
        self.pool.draw_many(self.draws)

    def run(self) -> None:
        self.taken = self.pool.snapshot(self.place, incremental=self.incremental)

    def verify(self) -> None:
        assert self.taken is not None
        expect("records covered", self.taken.covered, self.log.stats().last_sequence)
        expect("adds to another", self.taken.base is not None, self.incremental)
        shutil.copytree(self.place, self.copy)
        try:
            self._verify_copy()
        finally:
            shutil.rmtree(self.copy)

    def _verify_copy(self) -> None:
        pool, log, found = self.backend.recover(
            self.items,
            seed=self.seed,
            backend=self.log_backend,
            directory=self.copy,
            options=self.options,
        )
        try:
            expect("draws recovered", pool.drawn, self.pool.drawn)
            expect("stock recovered", pool.stock(), self.pool.stock())
            expect("records left in the log", found.records, 0)
            links = self.chain + 1 if self.incremental else 1
            expect("snapshots used", len(found.snapshots.chain), links)
        finally:
            pool.close()
            log.close()

    def metrics(self) -> dict[str, float]:
        """Of the log alone; ``written_bytes_per_op`` holds the snapshot too."""
        stats = self.log.stats()
        return {
            "wal_file_size": float(stats.file_size),
            "wal_allocated_bytes": float(stats.allocated),
        }

    def close(self) -> None:
        self.pool.close()
        self.log.close()


def _needs(params: Mapping[str, Any]) -> Needs:
    """Two chains and a copy of them, twice the log, and a catalogue in both pools."""
    state = 64 + 8 * int(params["items"])
    links = 2 * LONGEST_CHAIN if params["kind"] == "incremental" else 3
    disk = 2 * links * state + 4 * int(params["segment"]) + 8 * int(params["draws"])
    return Needs(96 * MIB + 800 * int(params["items"]), disk)


_PARAMETERS: tuple[Parameter, ...] = (
    choice("kind", "full", "all items, or those drawn since the last one", "full", "incremental"),
    count("items", 1000, "items in the catalogue", most=1_000_000),
    count("draws", 100, "draws before each snapshot", most=10_000_000),
    Parameter("wal", "backend", "wal.mmap", "the log behind the pool", choices=("wal",)),
    size("segment", 1 * MIB, "bytes of one log file before it rotates", 64 << 10),
)

WORKLOADS = (
    Declared("wal.snapshot", "rewards", "WAL snapshots", "one snapshot of a pool, durable",
             SnapshotBody, _PARAMETERS, frozenset({Capability.LOGGED, Capability.SNAPSHOT}),
             _needs, synced=True),
)  # fmt: skip
