"""What a flush policy promises follows from its words; logs keep it, and mistakes are caught."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench_cli.faults import failing
from bench_cli.faults.crashes import Crashes, Tally, record
from bench_cli.faults.history import History, drive, steps
from bench_cli.faults.policies import FLUSHES, MS, Hands, Step, under_policy
from bench_cli.faults.policy_bugs import POLICY_BUGS, SOUND_POLICIES, PolicyBug
from bench_cli.faults.prove import Effort, Subject, crash
from bench_cli.faults.recorder import Recorder
from bench_cli.faults.selftest import caught
from bench_cli.interfaces import LogOptions
from tests.contract.log_backends import STORED, label, load

PYTHON = "bench_cli.wal.log:BasicBackend"
APPEND = Step("append", 1, (b"payload",))


def promised(kind: str, *planned: Step) -> list[int]:
    """After each step: the newest record that is promised."""
    found = []
    for count in range(1, len(planned) + 1):
        history = History()
        options = LogOptions("binary", 4096, Recorder(), flush=FLUSHES[kind], clock=Hands())
        drive(load(PYTHON), options, planned[:count], history)
        assert history.complaints == []
        found.append(history.now.promised)
    return found


def tick(ms: int) -> Step:
    return Step("tick", keep=ms * MS)


@pytest.mark.parametrize(
    ("kind", "planned", "expected"),
    [
        ("never", [APPEND, tick(99), Step("wait")], [0, 0, 1]),
        ("async", [APPEND, tick(0), APPEND], [0, 1, 1]),
        ("records", [APPEND] * 6, [0, 0, 0, 0, 5, 5]),
        ("records", [APPEND] * 3 + [Step("sync")] + [APPEND] * 2, [0, 0, 0, 3, 3, 3]),
        ("bytes", [Step("append", 1, (bytes(200),))] * 3, [0, 2, 2]),
        ("time", [APPEND, tick(9), APPEND, tick(1), tick(10)], [0, 0, 0, 2, 2]),
        ("record", [APPEND, APPEND], [1, 2]),
        ("group", [APPEND, APPEND, Step("wait", keep=1), Step("wait")], [0, 0, 2, 2]),
        ("group", [Step("commit", 1, (b"x",)), APPEND], [1, 1]),
    ],
)
def test_what_a_policy_promises(kind: str, planned: list[Step], expected: list[int]) -> None:
    assert promised(kind, *planned) == expected


@pytest.mark.parametrize("kind", FLUSHES)
@pytest.mark.parametrize("place", STORED, ids=label)
def test_every_crash_under_a_policy_is_recovered(place: str, kind: str) -> None:
    tally, options = Tally(), LogOptions("binary", 4096, flush=FLUSHES[kind], clock=Hands())
    backend = load(place)
    for seed in range(2):
        disk, history = record(backend, options, under_policy(steps(seed, 30, "never"), seed))
        assert history.complaints == []
        Crashes(backend, options, disk, history, tally, kind, seed, again=40).check(60)
    assert tally.failures == []
    assert tally.images > 60


@pytest.mark.parametrize("place", STORED[2:], ids=label)
def test_a_failed_sync_of_a_policy_is_survived(place: str) -> None:
    tally = Tally()
    options = LogOptions("binary", 4096, flush=FLUSHES["time"], clock=Hands())
    assert failing.check(load(place), options, tally, seed=3) > 50
    assert tally.failures == []


@pytest.mark.parametrize("bug", POLICY_BUGS, ids=lambda bug: bug.name)
def test_a_mistake_of_a_policy_is_caught(bug: PolicyBug) -> None:
    assert caught(bug) is not None


def test_nothing_is_found_in_a_sound_policy() -> None:
    sound = replace(SOUND_POLICIES[0], kinds=("records",))
    assert caught(sound) is None


def test_a_compiled_log_in_the_binary_format_is_looked_at_longest() -> None:
    effort = Effort()
    assert effort.of("flush-group", "native", "binary") == 100_000
    assert effort.of("record", "native", "binary") == 100_000
    assert effort.of("committers", "native", "binary") == 20_000
    assert effort.damaged("native", "binary") == 500
    assert effort.damaged("python", "binary") == effort.damaged("native", "text") == 0
    others = (("native", "text"), ("python", "binary"))
    assert {effort.of("flush-group", core, form) for core, form in others} == {2_000}
    assert replace(effort, images=50, native_images=50).of("never", "native", "binary") == 50


def test_a_policy_is_recorded_by_its_name_in_a_failure() -> None:
    subject, tally = Subject("wal.basic", "python", "binary"), Tally()
    crash(subject, subject.resolve(), "flush-time", 4096, 5, tally, most=20)
    assert tally.failures == []
    assert tally.images >= 20
