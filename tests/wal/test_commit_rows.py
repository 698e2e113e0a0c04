"""Commit rows: every way to commit is timed and verified, and an engine that acknowledges what is
not yet synced has no row."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench_cli import registry
from bench_cli.errors import Unsupported, VerificationFailed
from bench_cli.interfaces import Capability, Engines, LogOptions, Setting, SteppedBody
from bench_cli.wal.flush import FlushedLog
from bench_cli.wal.log import BasicBackend
from bench_cli.workloads import wal_commit
from tests.contract.log_backends import label, load

PLACES = [
    f"bench_cli.wal.{module}:{name}"
    for module in ("log", "native")
    for name in ("BasicBackend", "MmapBackend")
]


@pytest.fixture(autouse=True)
def short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_commit, "COMMITS", 10)
    monkeypatch.setattr(wal_commit, "COMMITS_EACH", 10)


def row(backend: Any, scratch: Path, **params: Any) -> Any:
    workload = registry.workload_of("wal.commit")
    whole = {p.name: p.default for p in workload.parameters}
    whole |= {"segment": 8 << 20, **params}
    engines = Engines(lambda name: backend)
    return workload.build(Setting(whole, backend.name, backend.core, 7, scratch, engines))


@pytest.mark.parametrize("place", PLACES, ids=label)
@pytest.mark.parametrize(
    "params",
    [
        {"flush": "record"},
        {"flush": "group"},
        {"flush": "group", "committers": 4},
        {"flush": "record", "committers": 3},
        {"flush": "group:4:100us", "committers": 4},
        {"flush": "group", "tickets": 5},
        {"flush": "never", "tickets": 3},
        {"flush": "group", "committers": 4, "sync_delay": 1000},
    ],
    ids=lambda params: ",".join(f"{key}={value}" for key, value in params.items()),
)
def test_every_way_to_commit_is_timed_and_verified(
    place: str, params: dict[str, Any], tmp_path: Path
) -> None:
    body = row(load(place), tmp_path, **params)
    for _ in range(2):
        body.prepare()
        body.run()
        body.verify()
    told = body.metrics()
    assert told["max_unsynced_ns"] > 0
    if params["flush"] == "record":
        assert told["records_per_sync"] == 1
    if params.get("tickets"):
        assert told["records_per_sync"] == params["tickets"]
    body.close()
    assert threading.active_count() == 1


def test_a_commit_is_a_step_whose_time_can_be_told(tmp_path: Path) -> None:
    body = row(BasicBackend(), tmp_path)
    assert isinstance(body, SteppedBody)
    body.prepare()
    step = body.stepper()
    for _ in range(3):
        step()
    body.verify_steps(3)
    with pytest.raises(VerificationFailed):
        body.verify_steps(4)
    body.close()


def test_tickets_of_several_committers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="one committer"):
        row(BasicBackend(), tmp_path, committers=2, tickets=2)


def test_a_log_that_takes_no_file_system_cannot_be_slowed_down(tmp_path: Path) -> None:
    class Opaque(BasicBackend):
        capabilities = BasicBackend.capabilities - {Capability.FAULTS}

    row(Opaque(), tmp_path / "quick").close()
    with pytest.raises(Unsupported, match="no sync_delay"):
        row(Opaque(), tmp_path / "slow", sync_delay=1000)


def test_a_log_without_policies_stands_behind_ours(tmp_path: Path) -> None:
    class Plain(BasicBackend):
        capabilities = BasicBackend.capabilities - {Capability.COMMIT}

        def open(self, directory: Path, options: LogOptions) -> Any:
            assert options.flush is None
            return super().open(directory, options)

    body = row(Plain(), tmp_path, committers=4)
    body.prepare()
    body.run()
    body.verify()
    body.close()


class Lying(BasicBackend):
    """Opens logs whose policy is spoiled by ``spoil``."""

    def __init__(self, spoil: Callable[[Any], None]) -> None:
        super().__init__()
        self._spoil = spoil

    def open(self, directory: Path, options: LogOptions) -> Any:
        assert options.flush is not None
        log = super().open(directory, replace(options, flush=None))
        committed = FlushedLog(log, options.flush)
        self._spoil(committed)
        return committed


def acknowledges_at_once(log: Any) -> None:
    log.commit = log.append
    log.wait = lambda ticket: None


@pytest.mark.parametrize("tickets", [1, 4])
def test_an_engine_that_acknowledges_before_the_sync_has_no_row(
    tickets: int, tmp_path: Path
) -> None:
    with pytest.raises(VerificationFailed, match="acknowledged too early"):
        row(Lying(acknowledges_at_once), tmp_path, tickets=tickets)


def test_an_engine_that_loses_a_commit_has_no_row(tmp_path: Path) -> None:
    def forgets(log: Any) -> None:
        commit, made = log.commit, iter(range(10**6))
        log.commit = lambda payload: commit(payload) if next(made) % 12 else log._last

    with pytest.raises(VerificationFailed):
        spoiled = row(Lying(forgets), tmp_path)
        spoiled.prepare()
        spoiled.run()
        spoiled.verify()


def test_an_append_row_under_a_group_says_why_it_is_none(tmp_path: Path) -> None:
    workload = registry.workload_of("wal.append")
    params = {p.name: p.default for p in workload.parameters} | {"flush": "group"}
    backend = BasicBackend()
    setting = Setting(
        params, backend.name, backend.core, 7, tmp_path, Engines(lambda name: backend)
    )
    with pytest.raises(Unsupported, match=r"wal\.commit"):
        workload.build(setting)


@pytest.mark.parametrize("flush", ["async", "100records", "4KiB", "10ms", "record"])
def test_append_rows_are_verified_under_every_policy(flush: str, tmp_path: Path) -> None:
    workload = registry.workload_of("wal.append")
    params = {p.name: p.default for p in workload.parameters}
    params |= {"flush": flush, "segment": 8 << 20}
    backend = BasicBackend()
    setting = Setting(
        params, backend.name, backend.core, 7, tmp_path, Engines(lambda name: backend)
    )
    body = cast(Any, workload.build(setting))
    body.prepare()
    body.run()
    body.verify()
    assert body.metrics()["max_unsynced_ns"] > 0
    body.close()
