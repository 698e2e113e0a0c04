"""``bench baseline`` and ``--baseline``: kept results, accepted changes, and when they end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_cli import baselines, results
from bench_cli.errors import ExitCode
from bench_cli.runner import run as runner
from tests.cli.conftest import GOLDEN, Bench

FAR, PAST = "2999-12-31", "2001-01-31"


@pytest.fixture
def kept(bench: Bench, project: Path) -> Path:
    """The project with a baseline ``main`` and a newer, worse result."""
    folder = project / "results"
    folder.mkdir()
    found = bench("baseline", "save", "main", GOLDEN / "run.json")
    assert found.code == 0, found.err
    shutil.copy(GOLDEN / "head.json", folder / "head.json")
    return folder / "baselines" / "main.json"


def test_a_baseline_is_still_a_result(kept: Path) -> None:
    whole, slim = results.read(GOLDEN / "run.json"), results.read(kept)
    assert [row.metrics for row in slim.results] == [row.metrics for row in whole.results]


def test_a_baseline_is_small_however_many_samples_were_taken(kept: Path) -> None:
    whole = results.read(GOLDEN / "run.json")
    sampled = [_with_samples(row, 1000) for row in whole.results]
    baselines.save("long", replace(whole, results=sampled), kept.parent.parent)
    assert kept.with_name("long.json").read_bytes() == kept.read_bytes()
    assert kept.stat().st_size < (GOLDEN / "run.json").stat().st_size


def _with_samples(row: results.Row, times: int) -> results.Row:
    """The row with that many times its samples, and an interval's rate for each."""
    grown = [process * times for process in row.samples.time_ns]
    intervals = [process[:1] * times for process in row.samples.time_ns]
    return replace(row, samples=replace(row.samples, time_ns=grown, interval_ns=intervals))


def test_a_baseline_compares_as_the_whole_result_does(bench: Bench, kept: Path) -> None:
    told = []
    for base in ("baseline:main", str(kept), str(GOLDEN / "run.json")):
        found = bench("compare", base, "latest", "--format", "json")
        assert found.code == ExitCode.REGRESSION
        told.append(json.loads(found.out)["rows"])
    assert told[0] == told[1] == told[2]


def test_baselines_are_listed_and_shown(bench: Bench, kept: Path) -> None:
    assert "main" in bench("baseline", "list").out
    assert "Draws by WAL type" in bench("baseline", "show", "main").out


def test_no_baseline_is_said(bench: Bench, project: Path) -> None:
    assert "bench baseline save" in bench("baseline", "list").out


@pytest.mark.parametrize(
    "words",
    [
        ("baseline", "show", "mian"),
        ("baseline", "save", "../main"),
        ("baseline", "save", "a/b"),
        ("baseline", "save", "x.accepted"),
        ("baseline", "save", "new", "none.json"),
        ("compare", "baseline:mian", "latest"),
        ("run", "--baseline", "mian"),
        ("baseline", "accept", "main", "--reason", "x"),
        ("baseline", "accept", "main", "--reason", "x", "--expires", "soon"),
        ("baseline", "accept", "main", "--reason", " ", "--expires", FAR),
    ],
)
def test_bad_input_is_one_error(bench: Bench, kept: Path, words: tuple[str, ...]) -> None:
    found = bench(*words)
    assert found.code == ExitCode.USAGE
    assert found.err.startswith("error: ")
    assert found.out == ""


def accept(bench: Bench, expires: str = FAR, *words: str) -> Any:
    return bench(
        "baseline", "accept", "main", *words, "--reason", "checksums", "--expires", expires
    )


def test_an_accepted_change_is_told_and_not_judged(bench: Bench, kept: Path) -> None:
    assert "accepted until" in accept(bench).out
    found = bench("compare", "baseline:main", "latest")
    assert found.code == ExitCode.ROW_MISSING  # the golden head also lacks a row
    assert "accepted until 2999-12-31 (checksums)" in found.out
    assert "checksums" in bench("baseline", "show", "main").out


def test_an_acceptance_ends(bench: Bench, kept: Path) -> None:
    accept(bench, PAST)
    assert bench("compare", "baseline:main", "latest").code == ExitCode.REGRESSION


def test_only_chosen_rows_are_accepted(bench: Bench, kept: Path) -> None:
    accept(bench, FAR, "-k", "wal.append_remove")
    found = bench("compare", "baseline:main", "latest")
    assert found.code == ExitCode.REGRESSION
    assert [one.metric for one in baselines.accepted(kept)] == ["allocs_per_op"]


def test_a_further_fall_is_a_regression_again(bench: Bench, kept: Path, project: Path) -> None:
    accept(bench)
    worse = results.read(project / "results" / "head.json")
    for row in worse.results:
        if "wal_bytes_per_op" in row.metrics:
            row.metrics["wal_bytes_per_op"] *= 2
    results.write(project / "results" / "worse.json", worse)
    found = bench("compare", "baseline:main", project / "results" / "worse.json")
    assert found.code == ExitCode.REGRESSION


def test_saving_again_forgets_what_was_accepted(bench: Bench, kept: Path) -> None:
    accept(bench)
    bench("baseline", "save", "main", GOLDEN / "run.json")
    assert baselines.accepted(kept) == []


def test_nothing_to_accept_is_an_error(bench: Bench, kept: Path) -> None:
    found = bench("baseline", "accept", "main", GOLDEN / "run.json", "--reason", "x",
                  "--expires", FAR)  # fmt: skip
    assert found.code == ExitCode.USAGE
    assert "nothing to accept" in found.err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"accepted": [{"row": 1}]}',
        '{"accepted": [{"row": "r", "metric": "m", "value": NaN, "reason": "", "expires": ""}]}',
        '{"accepted": [{"row": "r", "metric": "m", "value": 1, "reason": "", "expires": "soon"}]}',
        "[" * 200_000,
    ],
)
def test_a_damaged_list_of_acceptances_is_one_error(bench: Bench, kept: Path, text: str) -> None:
    kept.with_name("main.accepted.json").write_text(text)
    found = bench("compare", "baseline:main", "latest")
    assert found.code == ExitCode.USAGE
    assert "main.accepted.json" in found.err


def test_a_run_is_compared_with_its_baseline(
    bench: Bench, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = results.read(GOLDEN / "head.json")
    head.requirements = []
    head.results = [row for row in head.results if row.status == "ok"]
    monkeypatch.setattr(runner, "execute", lambda *args, **rest: head)
    found = bench("run", "wal", "--baseline", "main")
    assert found.code == ExitCode.REGRESSION
    assert "Verdict: regression (exit 10)" in found.out
    quiet = bench("run", "wal", "--baseline", "main", "--json", "-")
    assert quiet.code == ExitCode.REGRESSION
    assert json.loads(quiet.out)["schema"] == 1
    assert "Verdict: regression" in quiet.err
