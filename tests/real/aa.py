"""Identical code against itself, many times: does the gate ever cry wolf? Each session is one
``bench ab`` of this checkout with itself; in every second one a CPU hog starts half-way through
the screening. Sessions already in its journal are not run again.

``python -m tests.real.aa --sessions 100``
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bench_cli import catalogue as catalogues
from bench_cli.cli.loading import load_scenarios
from bench_cli.scenario import Overrides
from tests.real.sessions import Hog, session

PAIRS = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """``regressed``: ids of cells, with the metric that did it."""

    number: int
    hog: bool
    seconds: float
    code: int
    regressed: list[str]
    counts: dict[str, int]


def processes_of(scenario: str) -> int:
    """How many processes the screening of a session starts."""
    loaded = load_scenarios([scenario], catalogues.from_registry(), Overrides())
    return 2 * PAIRS * sum(cell.skip is None for one in loaded for cell in one.cells)


def run(number: int, scenario: str, folder: Path) -> Outcome:
    hog = Hog(processes_of(scenario) // 2)
    words = ["--base", "here", "--head", "here", scenario, "--seed", str(number)]
    with_hog = number % 2 == 1
    try:
        found = session(words, folder / "session.json", meanwhile=hog.watch if with_hog else None)
    finally:
        hog.stop()
    if found.code:  # what made it red is to be looked into
        for one in folder.glob("session*.json"):
            one.replace(folder / f"red-{number}{one.name.removeprefix('session')}")
    counts = {verdict: len(ids) for verdict, ids in found.verdicts.items()}
    blamed = [
        f"{row['id']} {[one['metric'] for one in row['exact']] or 'time'}"
        for row in found.rows
        if row["verdict"] == "regressed"
    ]
    return Outcome(number, hog.ran, round(found.seconds, 1), found.code, blamed, counts)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="its number, and so its seed")
    parser.add_argument("--scenario", default="smoke")
    parser.add_argument("--folder", type=Path, default=Path("_tmp/aa"))
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    journal = wanted.folder / "journal.jsonl"
    done = (
        [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    )
    outcomes = [Outcome(**one) for one in done]
    for number in range(wanted.first + len(outcomes), wanted.first + wanted.sessions):
        outcome = run(number, wanted.scenario, wanted.folder)
        outcomes.append(outcome)
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()
    red = [one for one in outcomes if one.regressed]
    hogs = sum(one.hog for one in outcomes)
    sys.stdout.write(f"{len(outcomes)} sessions, {hogs} with a hog: {len(red)} red\n")
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
