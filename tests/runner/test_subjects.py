"""The sides of an A/B comparison: what their names mean, and how broken ones end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench_cli.errors import ExitCode
from bench_cli.runner import subjects
from bench_cli.runner.processes import Program, run_worker
from bench_cli.runner.subjects import SubjectError, prepare, read_spec
from bench_cli.runner.worker import Job

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "kind", "value", "key"),
    [
        ("here", "here", "", None),
        ("backend:wal.mmap", "backend", "wal.mmap", "backend"),
        ("backend:my.module:Class", "backend", "my.module:Class", "backend"),
        ("set:record=4KiB", "set", "record=4KiB", "record"),
        ("python:/usr/bin/python3", "python", "/usr/bin/python3", None),
        ("path:.", "path", ".", None),
        ("git:HEAD~1", "git", "HEAD~1", None),
    ],
)
def test_a_side_is_read(text: str, kind: str, value: str, key: str | None) -> None:
    spec = read_spec(text)
    assert (spec.kind, spec.value, spec.key) == (kind, value, key)


@pytest.mark.parametrize("text", ["", "main", "git:", "here:", "set:record", "set:=1", "svn:1"])
def test_a_side_that_names_nothing_is_a_usage_error(text: str) -> None:
    with pytest.raises(SubjectError) as caught:
        read_spec(text)
    assert caught.value.exit_code == ExitCode.USAGE


def ready(text: str, place: Path, root: Path = ROOT) -> subjects.Subject:
    return prepare(read_spec(text), cache=place / "cache", root=root, say=lambda text: None)


def job(place: Path) -> Job:
    from tests.runner.test_ab import cell

    (place / "00001").mkdir()
    return Job("a", "synthetic.op", dict(cell().params), "synthetic.clock", "python", 1, 10**6,
               None, str(place / "00001"))  # fmt: skip


def test_a_checkout_answers_for_itself(tmp_path: Path) -> None:
    found = ready(f"path:{ROOT}", tmp_path)
    assert found.environment["python"] == sys.version.split()[0]
    answer = run_worker(job(tmp_path), 60 * 10**9, found.program)
    assert answer["ok"], answer
    assert answer["cell"]["ops"] > 0


def test_a_part_of_a_job_that_an_older_tool_does_not_know_is_left_out(tmp_path: Path) -> None:
    known = frozenset({"cell_id", "workload"})
    assert (
        Program(fields=known).job(job(tmp_path)) == '{"cell_id": "a", "workload": "synthetic.op"}'
    )


def test_the_search_path_of_this_tool_does_not_reach_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/here")
    assert "PYTHONPATH" not in Program(alone=True).environment()
    assert Program().environment()["PYTHONPATH"] == "/here"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("python:no-such-python", "no such interpreter"),
        ("path:/no/such/folder", "no bench_cli/"),
        ("git:no-such-revision", "no such revision"),
        ("git:--upload-pack=x", "no such revision"),
        ("git:HEAD\x1b[2J", "no such revision"),
    ],
)
def test_a_side_that_is_not_there_is_one_clear_error(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SubjectError, match=told) as caught:
        ready(text, tmp_path)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.remedy


def test_an_interpreter_without_the_package_says_so(tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec "{sys._base_executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(SubjectError, match="No module named 'bench_cli'"):
        ready(f"python:{bare}", tmp_path)


def test_a_checkout_that_cannot_be_imported_is_one_error(tmp_path: Path) -> None:
    package = tmp_path / "bench_cli"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('half an edit')\n")
    with pytest.raises(SubjectError, match="half an edit"):
        ready(f"path:{tmp_path}", tmp_path)


def test_an_older_tool_skips_what_it_does_not_know_and_runs_the_rest(tmp_path: Path) -> None:
    from tests.runner.test_ab import DEFAULTS, cell

    known = [name for name in DEFAULTS if name != "skew"]
    older = subjects.Subject(read_spec("git:v1"), workloads={"synthetic.op": known})
    assert older.skipped(cell(), DEFAULTS) is None
    assert older.skipped(cell(skew=5), DEFAULTS) == "git:v1 does not know: skew"
    none = subjects.Subject(read_spec("git:v0"), workloads={})
    assert none.skipped(cell(), DEFAULTS) == "git:v0 has no workload synthetic.op"
    assert subjects.Subject(read_spec("here")).skipped(cell(skew=5), {}) is None
    assert "synthetic.op" in (ready(f"path:{ROOT}", tmp_path).workloads or {})


# --- revisions -------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one revision."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "setup.py").write_text("raise SystemExit('this revision does not build')\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], cwd=root, check=True)
    return root


def installing(monkeypatch: pytest.MonkeyPatch, code: int) -> list[Sequence[str]]:
    """Git and tar run for real; making an environment and installing do not."""
    real, asked = subjects._run, []

    def run(words: Sequence[str], folder: Path, spec: Any) -> Any:
        if words[0] in ("git", "tar"):
            return real(words, folder, spec)
        asked.append(words)
        if "venv" in words:
            python = Path(words[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            (Path(words[-1]) / "lib" / version / "site-packages").mkdir(parents=True)
            return subprocess.CompletedProcess(words, 0, "", "")
        return subprocess.CompletedProcess(words, code, "", "line\n" * 50 + "error: no compiler")

    monkeypatch.setattr(subjects, "_run", run)
    return asked


def test_a_revision_is_built_once(
    monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    asked = installing(monkeypatch, 0)
    told: list[str] = []
    found = [
        subjects.revision(read_spec(name), cache=tmp_path / "cache", root=project, say=told.append)
        for name in ("git:HEAD", "git:HEAD")
    ]
    assert found[0] == found[1]
    assert len(asked) == len({tuple(words) for words in asked})  # nothing was done twice
    assert len(told) == 1
    assert (found[0].parents[2] / "source" / "setup.py").is_file()


def test_a_revision_that_does_not_build_is_one_short_error_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    asked = installing(monkeypatch, 1)
    for _ in range(2):
        with pytest.raises(SubjectError, match="does not build") as caught:
            ready("git:HEAD", tmp_path, project)
        assert caught.value.message.endswith("error: no compiler")
        assert len(caught.value.message.splitlines()) < 10
    assert len(asked) == 2 * len({tuple(words) for words in asked})


@pytest.mark.parametrize(
    ("requires", "here"),
    [
        ('["setuptools", "numpy>=1.26"]', True),
        ('["setuptools>=999"]', False),
        ('["no-such-package"]', False),
        ("[\"numpy~=1.0; python_version > '3'\"]", False),
        ("7", False),
    ],
)
def test_our_build_tools_serve_where_they_are_what_is_asked(
    tmp_path: Path, requires: str, here: bool
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[build-system]\nrequires = {requires}\n")
    assert subjects._can_build(tmp_path) is here


def test_a_half_built_revision_is_not_used(
    monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    asked = installing(monkeypatch, 0)
    cache = tmp_path / "cache"
    found = subjects.revision(read_spec("git:HEAD"), cache=cache, root=project, say=print)
    (found.parents[2] / "built").unlink()
    subjects.revision(read_spec("git:HEAD"), cache=cache, root=project, say=print)
    assert len(asked) == 2 * len({tuple(words) for words in asked})


def test_a_worker_of_another_interpreter_that_dies_is_an_answer(tmp_path: Path) -> None:
    gone = run_worker(job(tmp_path), 10**9, Program(executable="/bin/false"))
    assert not gone["ok"]
    assert "exit code 1" in gone["reason"]
