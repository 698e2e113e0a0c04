"""Commands from outside: what they print, where, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench_cli import __version__, results
from bench_cli.cli import main
from bench_cli.errors import ExitCode
from tests.cli.conftest import GOLDEN, Bench

ROOT = GOLDEN.parents[1]
HEAVY = ("numpy", "rich", "yaml", "psutil", "google_crc32c")


def in_a_fresh_process(*words: str, then: str) -> str:
    """Runs a command in a new interpreter, then prints the expression ``then``."""
    script = (
        "import sys\nfrom bench_cli.cli.main import run\n"
        f"assert run({list(words)!r}) == 0\nprint({then})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.splitlines()[-1]


def test_help_imports_nothing_heavy() -> None:
    then = f"[name for name in {HEAVY!r} if name in sys.modules]"
    assert in_a_fresh_process("--help", then=then) == "[]"


def test_plain_output_of_a_stored_result_needs_no_rich() -> None:
    path = str(GOLDEN / "run.json")
    assert in_a_fresh_process("show", path, then="'rich' in sys.modules") == "False"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_a_help_that_begins_with_its_summary(bench: Bench, name: str) -> None:
    found = bench(name, "--help", width=200)
    assert found.code == 0
    assert main.COMMANDS[name][1] in found.out
    assert f"bench {name}" in found.out.partition("Usage:")[2].partition("\n")[2]


def test_the_bare_command_shows_its_help(bench: Bench) -> None:
    found = bench()
    assert "Commands:" in found.out + found.err


def test_the_version_is_printed(bench: Bench) -> None:
    assert __version__ in bench("--version").out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("shwo",), "show"),
        (("run", "--bakend", "x"), "--backend"),
        (("run", "--core", "cython"), "native"),
        (("run", "--budget", "5"), "needs a unit"),
        (("run", "--seed", "-1"), "-1"),
        (("show",), "RESULT"),
        (("compare", "a.json"), "HEAD"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error_with_a_hint(
    bench: Bench, arguments: tuple[str, ...], hint: str
) -> None:
    found = bench(*arguments)
    assert found.code == ExitCode.USAGE
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert hint in found.err
    assert "--help" in found.err


# --- show ------------------------------------------------------------------------------------


def test_show_latest_takes_the_newest_result(bench: Bench, project: Path) -> None:
    (project / "results").mkdir()
    shutil.copy(GOLDEN / "run.json", project / "results" / "20260102T030405Z-wal.json")
    found = bench("show", "latest")
    assert found.code == 0
    assert "Draws by WAL type" in found.out
    assert "20260102T030405Z-wal.json" in found.out


def test_show_latest_without_results_says_what_to_do(bench: Bench, project: Path) -> None:
    found = bench("show", "latest")
    assert found.code == ExitCode.USAGE
    assert "bench run" in found.err


def test_show_as_json_is_the_stored_result(bench: Bench) -> None:
    found = bench("show", GOLDEN / "run.json", "--format", "json")
    assert json.loads(found.out) == json.loads((GOLDEN / "run.json").read_text())


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 9, "results": []}', "[" * 10_000, "\x00"])
def test_a_bad_result_file_is_one_error_without_traceback(
    bench: Bench, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    for command in (("show", path), ("compare", path, GOLDEN / "run.json")):
        found = bench(*command)
        assert found.code == ExitCode.USAGE
        assert found.out == ""
        assert found.err.startswith(f"error: {path}")
        assert "Traceback" not in found.err


def test_hostile_names_reach_the_terminal_escaped(bench: Bench) -> None:
    found = bench("show", GOLDEN / "python.json")
    assert "\x1b" not in found.out
    assert "\x07" not in found.out
    assert "\nerror: forged" not in found.out
    assert "[bold red]X" in found.out  # markup is text


def test_hostile_names_in_errors_are_escaped(bench: Bench) -> None:
    found = bench("show", "\x1b[2J.json")
    assert "\x1b" not in found.err
    assert "\\x1b[2J.json" in found.err


# --- compare ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "head", "code"),
    [
        ("run.json", "run.json", ExitCode.OK),
        ("run.json", "head.json", ExitCode.REGRESSION),
        ("head.json", "run.json", ExitCode.REGRESSION),
        ("run.json", "none.json", ExitCode.USAGE),
    ],
)
def test_compare_ends_with_the_code_of_its_verdict(
    bench: Bench, base: str, head: str, code: int
) -> None:
    found = bench("compare", GOLDEN / base, GOLDEN / head)
    assert found.code == code
    if code != ExitCode.USAGE:
        assert f"(exit {code})" in "".join(found.out.splitlines()[-3:])


def test_compare_names_missing_rows_and_the_command_that_fills_them(
    bench: Bench, tmp_path: Path
) -> None:
    result = results.read(GOLDEN / "run.json")
    gone = result.results.pop(0)
    results.write(tmp_path / "fewer file.json", result)
    found = bench("compare", GOLDEN / "run.json", tmp_path / "fewer file.json", width=300)
    assert found.code == ExitCode.ROW_MISSING
    assert gone.id in found.out
    assert f"bench run scenarios/wal.yaml -o '{tmp_path / 'fewer file.json'}'" in found.out


def test_compare_of_nothing_in_common_is_not_a_pass(bench: Bench, tmp_path: Path) -> None:
    result = results.read(GOLDEN / "run.json")
    result.results = []
    results.write(tmp_path / "empty.json", result)
    assert bench("compare", GOLDEN / "run.json", tmp_path / "empty.json").code == (
        ExitCode.NOTHING_COMPARED
    )


def test_compare_as_json_says_the_same(bench: Bench) -> None:
    found = bench("compare", GOLDEN / "run.json", GOLDEN / "head.json", "--format", "json")
    document = json.loads(found.out)
    assert (document["verdict"], document["exit_code"]) == ("regression", found.code)
    assert document["rows"][0]["verdict"] == "regressed"
    assert document["rows"][0]["timing"]["advisory"] is True
    assert [one["side"] for one in document["missing"]] == ["head"]


# --- the error boundary ----------------------------------------------------------------------


def test_an_unforeseen_error_is_short_and_says_how_to_see_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> None:
        raise RuntimeError("odd \x1b[31m state")

    monkeypatch.setattr(results, "read", fail)
    found = bench("show", GOLDEN / "run.json")
    assert found.code == ExitCode.INTERNAL
    assert found.err.startswith("internal error: RuntimeError: odd \\x1b[31m state")
    assert "BENCH_DEBUG=1" in found.err
    assert "Traceback" not in found.err


def test_the_traceback_is_there_when_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(results, "read", fail)
    found = bench("--debug", "show", GOLDEN / "run.json")
    assert found.code == ExitCode.INTERNAL
    assert "Traceback" in found.err


def test_ctrl_c_ends_with_130(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "read", interrupt)
    assert bench("show", GOLDEN / "run.json").code == ExitCode.INTERRUPTED


@pytest.mark.parametrize("command", ["show", "compare"])
def test_a_reader_that_goes_away_is_no_error(command: str) -> None:
    """The pipe is closed before the first line is written."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    files = [str(GOLDEN / "run.json")] * (2 if command == "compare" else 1)
    done = subprocess.run([sys.executable, "-m", "bench_cli", command, *files], stdout=write_end,
                          stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_utf8_gets_text_it_can_show() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench_cli", "show", str(GOLDEN / "run.json")],
        capture_output=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Draws by WAL type" in done.stdout
