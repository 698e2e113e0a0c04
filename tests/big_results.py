"""Two results of thousands of rows, as an A/B session or two separate runs would leave them.

``python -m tests.big_results FOLDER`` writes the four files on which docs/measurement.md says how
long a comparison takes; tests make the same, smaller. Every number follows from the seed.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from bench_cli import results
from bench_cli.results import SIDES, AbCell, AbSession, Row, RunResult, Samples

SLOWER = 100
"""Of so many cells one is a tenth slower in head."""
_NOISE = 0.02
_COUNTS = {"gc_timed": 0, "major_faults": 0, "peak_rss_bytes": 45_355_008}
_TIMES = ("ns_per_op", "run_ns_per_op", "ops_per_s", "bytes_per_s", "overhead_share",
          "minor_faults_per_op", "cpu_user_ns_per_op", "cpu_sys_ns_per_op", "voluntary_switches",
          "involuntary_switches", "prepare_ns_per_op")  # fmt: skip
_EXACT = {"exact_ops": 100_000.0, "allocs_per_op": 2.0, "alloc_bytes_per_op": 92.0,
          "written_bytes_per_op": 96.0, "write_calls_per_op": 1.0, "gc_count": 0.0, "gc_gen0": 0.0,
          "gc_gen1": 0.0, "gc_gen2": 0.0, "wal_bytes_per_op": 96.0, "wal_file_size": 9_601_024.0,
          "wal_allocated_bytes": 67_108_864.0}  # fmt: skip


def session(cells: int, pairs: int, samples: int, seed: int = 1) -> tuple[RunResult, RunResult]:
    """Base and head of an A/B session. Every second cell was suspected, confirmed and repeated."""
    base, head = runs(cells, pairs, samples, seed)
    screen = min(6, pairs)
    repeat = min(6, pairs - screen)
    told = []
    for number, row in enumerate(base.results):
        suspected = number % 2
        counts = (screen, pairs - screen - repeat, 0) if suspected else (screen, 0, pairs - screen)
        told.append(AbCell(row.id, row.id, row.id, *counts, suspected, 0.03, suspected * repeat))
    for side, result in zip(SIDES, (base, head), strict=True):
        result.ab = AbSession("a session", side, "git:base", "git:head", "bench ab", True, told)
    return base, head


def runs(cells: int, processes: int, samples: int, seed: int = 1) -> tuple[RunResult, RunResult]:
    """Base and head as two separate runs."""
    rng = random.Random(seed)
    base = [_row(number, processes, samples, 1.0, rng) for number in range(cells)]
    head = [_row(number, processes, samples, 1.0 if (number + 1) % SLOWER else 1.1, rng)
            for number in range(cells)]  # fmt: skip
    environment = {"cpu_model": "a processor", "cpus": 2, "python": "3.11.7"}
    files = [{"path": "scenarios/wal.yaml", "sha256": "00"}]
    created = "2026-01-02T03:04:05+00:00"
    return (
        RunResult(dict(environment), list(files), base, created=created),
        RunResult(dict(environment), list(files), head, created=created),
    )


def _row(number: int, processes: int, samples: int, factor: float, rng: random.Random) -> Row:
    def around(middle: float, count: int) -> list[float]:
        return [round(middle * rng.gauss(1.0, _NOISE), 6) for _ in range(count)]

    each = {name: around(1000.0 * factor, processes) for name in _TIMES}
    each |= {name: [value] * processes for name, value in _COUNTS.items()}
    return Row(
        id=f"wal.append[backend=wal.mmap,core=native,flush=1MiB,record={number + 1}B]",
        scenario=f"wal-append-{number % 40}",
        workload="wal.append",
        group="WAL append",
        backend="wal.mmap",
        core="native",
        params={"record": number + 1, "format": "binary", "segment": 67_108_864, "batch": 1},
        status="ok",
        durability={"level": "D2", "window": "1 MiB", "integrity": "I1", "damage": "C2",
                    "evidence": "declared", "date": None, "counts": None},
        samples=Samples([around(1e8, samples) for _ in range(processes)], 100_000, 64),
        metrics={name: sorted(values)[len(values) // 2] for name, values in each.items()} | _EXACT,
        per_process=each,
        limits={"limits.call": around(28.1, processes)},
        ceiling="limits.call",
    )  # fmt: skip


def write(folder: Path, name: str, sides: Sequence[RunResult]) -> list[Path]:
    """``NAME.base.json`` and ``NAME.json``."""
    paths = [folder / f"{name}.base.json", folder / f"{name}.json"]
    for path, side in zip(paths, sides, strict=True):
        results.write(path, side)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=36)
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    write(wanted.folder, "ab", session(wanted.cells, wanted.pairs, samples=3))
    write(wanted.folder, "plain", runs(wanted.cells, processes=5, samples=5))


if __name__ == "__main__":
    main()
