"""Every exit code of the command line once, with the one line that says why.

Workers answer from a virtual clock, so that each code follows from what they answer and from
nothing else. ``test_ab.py``, ``test_run.py`` and ``test_commands.py`` try the same commands
further; here it is that no code is lost, and that what a shell sees is explained in one line.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench_cli import results
from bench_cli.errors import ExitCode
from bench_cli.runner import run, subjects
from bench_cli.runner.worker import Job
from tests.cli.conftest import GOLDEN, Bench
from tests.runner.virtual import answer, both_sides

ROOT = GOLDEN.parents[1]
SCENARIOS = """\
scenarios:
  - name: quiet
    workload: synthetic.op
    params: {backend: synthetic.clock, within: 5, between: 5, bytes: 16}
    matrix: {seed: [1, 2]}
    plan: {processes: 1, samples: 3, min_sample: 1ms}
  - name: strict
    workload: synthetic.op
    params: {backend: synthetic.clock, seed: 3}
    plan: {processes: 1, samples: 3, min_sample: 1ms}
    requirements:
      - {metric: ns_per_op, at_most: 1ns}
"""
EQUAL = ("ab", "--base", "backend:synthetic.clock", "quiet")
SLOWER = ("ab", "--base", "backend:synthetic.clock", "--head", "backend:synthetic.slower", "quiet")
UNDECIDED = (*EQUAL, "-P", "between=160", "--fail-on", "undecided")
RUN = ("run", "quiet")

Worker = Callable[..., dict[str, Any]]


def well(job: Job, timeout_ns: int, **program: Any) -> dict[str, Any]:
    """``program``: where another tool than this one is asked."""
    return answer(job, timeout_ns)


def broken(job: Job, timeout_ns: int) -> dict[str, Any]:
    raise RuntimeError("unforeseen")


def skipping(job: Job, timeout_ns: int) -> dict[str, Any]:
    return {"ok": False, "skipped": True, "reason": "no such thing", "limits": {}}


def lacking(job: Job, timeout_ns: int) -> dict[str, Any]:
    """One of the two rows cannot run on base."""
    lacks = job.backend == "synthetic.clock" and job.params["seed"] == 2
    return skipping(job, timeout_ns) if lacks else answer(job, timeout_ns)


def losing(job: Job, timeout_ns: int) -> dict[str, Any]:
    return {"ok": False, "reason": "bytes lost", "limits": {}}


def interrupted(job: Job, timeout_ns: int) -> dict[str, Any]:
    raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class Case:
    """A command that ends with ``code``, and the start of its one line on ``stream``."""

    code: int
    words: tuple[str, ...]
    worker: Worker
    line: str
    stream: str = "out"


CASES = [
    Case(ExitCode.OK, EQUAL, well, "Verdict: no regression (exit 0)"),
    Case(ExitCode.INTERNAL, RUN, broken, "internal error: RuntimeError: unforeseen", "err"),
    Case(ExitCode.USAGE, ("run", "quit"), well, "error: no scenario 'quit'", "err"),
    Case(ExitCode.REGRESSION, SLOWER, well, "Verdict: regression (exit 10)"),
    Case(ExitCode.UNDECIDED, UNDECIDED, well, "Verdict: undecided (exit 11)"),
    Case(ExitCode.NOTHING_COMPARED, EQUAL, skipping,
         "Verdict: nothing could be compared (exit 12)"),
    Case(ExitCode.ROW_MISSING, (*SLOWER, "--limit", "50%"), lacking,
         "Verdict: a row is missing (exit 13)"),
    Case(ExitCode.REQUIREMENT_MISSED, ("run", "strict"), well, "missed by"),
    Case(ExitCode.RUN_FAILED, RUN, losing, "failed: synthetic.op[", "err"),
    Case(ExitCode.INTERRUPTED, RUN, interrupted, "Interrupted"),
]  # fmt: skip


@pytest.fixture
def work_with(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Worker], None]:
    """``work_with(worker)``: what ``bench run`` and ``bench ab`` ask instead of a process."""
    (project / "scenarios" / "wal.yaml").write_text(SCENARIOS)

    def use(worker: Worker) -> None:
        assert run.execute.__kwdefaults__ is not None
        monkeypatch.setitem(run.execute.__kwdefaults__, "runner", worker)
        both_sides(monkeypatch, worker)

    return use


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.code))
def test_each_code_is_reached_and_one_line_says_why(
    bench: Bench, work_with: Callable[[Worker], None], case: Case
) -> None:
    work_with(case.worker)
    found = bench(*case.words, width=200)
    assert found.code == case.code, found.out + found.err
    lines = [line for line in getattr(found, case.stream).splitlines() if case.line in line]
    assert lines, getattr(found, case.stream)
    assert "Traceback" not in found.err


def declared() -> dict[str, int]:
    return {name: code for name, code in vars(ExitCode).items() if name.isupper()}


def test_no_code_is_left_out() -> None:
    assert [case.code for case in CASES] == sorted(declared().values())


def test_the_documented_codes_are_those_there_are() -> None:
    text = (ROOT / "docs" / "measurement.md").read_text(encoding="utf-8")
    told = text.partition("Exit codes: ")[2].partition("\n\n")[0]
    assert [int(code) for code in re.findall(r"(?:^|;)\s*(\d+) ", told)] == sorted(
        declared().values()
    )


# --- ab with a base that is another ----------------------------------------------------------


def git(folder: Path, *words: str) -> None:
    start = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*start, *words], cwd=folder, check=True, capture_output=True)


def test_2_a_base_that_does_not_build_is_one_clear_error_and_nothing_is_run(
    bench: Bench,
    work_with: Callable[[Worker], None],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Git, tar, the environment and pip are real; the environment does without a pip of its own,
    which takes seconds to unpack, and finds this tool's."""
    work_with(broken)  # would end as an internal error
    (project / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
    (project / "setup.py").write_text("raise SystemExit('this revision does not compile')\n")
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    real = subjects._run

    def quick(words: Any, folder: Path, spec: Any) -> Any:
        words = [*words, "--without-pip"] if "venv" in words else words
        return real(words, folder, spec)

    monkeypatch.setattr(subjects, "_run", quick)
    found = bench("ab", "--base", "git:HEAD", "quiet")
    assert found.code == ExitCode.USAGE
    assert found.out == ""
    errors = [line for line in found.err.splitlines() if line.startswith("error: ")]
    assert errors == ["error: 'git:HEAD' does not build:"]
    assert "this revision does not compile" in found.err
    assert not list((project / "results").glob("*"))


def other_checkout(project: Path) -> Path:
    """A folder that holds this package and another scenario file."""
    folder = project / "other"
    (folder / "scenarios").mkdir(parents=True)
    (folder / "bench_cli").symlink_to(ROOT / "bench_cli")
    (folder / "scenarios" / "wal.yaml").write_text("scenarios: [{name: of long ago}]\n")
    return folder


def test_both_sides_run_the_scenario_that_is_here_whatever_base_has(
    bench: Bench, work_with: Callable[[Worker], None], project: Path
) -> None:
    work_with(well)
    found = bench("ab", "--base", f"path:{other_checkout(project)}", "quiet")
    assert found.code == ExitCode.OK, found.out + found.err
    assert "2 rows on both sides" in found.out


def test_13_a_scenario_that_asks_what_base_does_not_know_is_a_missing_row(
    bench: Bench,
    work_with: Callable[[Worker], None],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Head's scenario sets a parameter that came after base: to run base without it would be to
    compare two different things."""
    work_with(well)
    real = subjects.prepare

    def older(spec: Any, **rest: Any) -> Any:
        subject = real(spec, **rest)
        known = {name: [one for one in parameters if one != "bytes"]
                 for name, parameters in (subject.workloads or {}).items()}  # fmt: skip
        return replace(subject, workloads=known if spec.kind == "path" else None)

    monkeypatch.setattr(subjects, "prepare", older)
    text = (project / "scenarios" / "wal.yaml").read_text()
    added = text.replace("seed: 3}", "seed: 3, bytes: 0}").replace("name: strict", "name: plain")
    (project / "scenarios" / "wal.yaml").write_text(added.replace("at_most: 1ns", "at_most: 1s"))
    found = bench("ab", "--base", f"path:{other_checkout(project)}", width=250)
    assert found.code == ExitCode.ROW_MISSING, found.out
    assert found.out.count("does not know: bytes") == 2  # a default says nothing, and is compared
    assert "1 row on both sides" in found.out


def test_13_a_scenario_that_changed_between_two_runs_has_no_row_in_common_to_judge(
    bench: Bench, work_with: Callable[[Worker], None], project: Path
) -> None:
    """A parameter that changed makes another row; a row is never judged against another's."""
    work_with(well)
    assert bench(*RUN, "-o", "before.json").code == ExitCode.OK
    path = project / "scenarios" / "wal.yaml"
    path.write_text(path.read_text().replace("seed: [1, 2]", "seed: [1, 4]"))
    assert bench(*RUN, "-o", "after.json").code == ExitCode.OK
    found = bench("compare", "before.json", "after.json", width=250)
    assert found.code == ExitCode.ROW_MISSING
    assert "in head: synthetic.op[" in found.out
    assert "in base: synthetic.op[" in found.out
    assert "1 row on both sides" in found.out
    assert len(results.read(project / "after.json").results) == 2
