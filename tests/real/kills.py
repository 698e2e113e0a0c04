"""kill -9 at random points of real A/B sessions, then --resume: nothing is lost, nothing twice.

``python -m tests.real.kills --points 20``
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from bench_cli import results
from bench_cli.run_store import journal_of
from tests.real.sessions import lines_of

SCENARIO = """\
scenarios:
  - name: quiet
    workload: synthetic.op
    params: {backend: synthetic.clock, within: 5, between: 20}
    matrix: {seed: [1, 2]}
    plan: {samples: 3, min_sample: 1ms}
"""
PROCESSES = 2 * 2 * 4  # sides, cells, pairs of a quick session
JUDGED = (0, 10)
AB = (sys.executable, "-m", "bench_cli", "ab")
Values = list[tuple[str, dict[str, list[float]]]]


def whole(folder: Path) -> Values:
    """What a session that nobody kills finds; its times are settled by the seed."""
    output = folder / "whole.json"
    _end(subprocess.Popen(_words(folder, output), **_QUIET))
    return values_of(output)


def killed(folder: Path, rng: random.Random, kills: int = 1) -> Values:
    """The same session, killed at random points and finished."""
    output = folder / "killed.json"
    output.unlink(missing_ok=True)
    journal = journal_of(output)
    command = _words(folder, output)
    for point in sorted(rng.sample(range(1, PROCESSES + 1), kills)):
        process = subprocess.Popen(command, **_QUIET)
        while process.poll() is None and lines_of(journal) < point:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))  # anywhere in what follows that line
        process.kill()
        process.communicate()
        if not journal.exists():  # it had ended before
            return values_of(output)
        command = [*AB, "--resume", str(journal)]
        if lines_of(journal) == 0:  # killed before its first line: nothing to go on from
            journal.unlink()
            command = _words(folder, output)
    _end(subprocess.Popen(command, **_QUIET))
    assert not journal.exists(), "a session that ended leaves no journal"
    return values_of(output)


_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}


def _words(folder: Path, output: Path) -> list[str]:
    scenario = folder / "quiet.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    sides = ["--base", "backend:synthetic.clock", "--head", "backend:synthetic.slower"]
    return [*AB, *sides, str(scenario), "--quick", "-o", str(output)]


def _end(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate()
    if process.returncode not in JUDGED:
        raise RuntimeError(f"exit code {process.returncode}: {said.decode()[-2000:]}")


def values_of(output: Path) -> Values:
    """Every value of every process on both sides; the files are valid by the strict reader and by
    the plain one."""
    found: Values = []
    for path in (output.with_name(f"{output.stem}.base.json"), output):
        json.loads(path.read_text(encoding="utf-8"))
        result = results.read(path)
        assert not result.interrupted
        found += [
            (row.id, {"ns": row.per_process["ns_per_op"], "run": row.per_process["run_ns_per_op"]})
            for row in result.results
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("_tmp/kills"))
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(wanted.seed)
    expected = whole(wanted.folder)
    counts = {row: len(found["ns"]) for row, found in expected}
    sys.stdout.write(f"uninterrupted: {counts}\n")
    wrong = 0
    for point in range(wanted.points):
        equal = killed(wanted.folder, rng) == expected
        wrong += not equal
        sys.stdout.write(f"kill {point}: {'equal' if equal else 'DIFFERENT'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{wanted.points} kills, {wrong} sessions differ from the uninterrupted one\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
