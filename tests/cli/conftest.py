"""The command line in this process: ``bench("show", "latest")`` gives exit code and output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench_cli.cli.main import run

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str


Bench = Callable[..., Ended]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Runs one command at a width, without a terminal."""
    monkeypatch.delenv("BENCH_DEBUG", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str | Path, width: int = 80) -> Ended:
        monkeypatch.setenv("COLUMNS", str(width))
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


SCENARIOS = """\
scenarios:
  - name: append
    description: a small log
    workload: wal.append
    params: {core: python}
    matrix: {backend: [wal.none, wal.basic], record: [64B, 512B]}
    plan: {processes: 1, samples: 1, min_sample: 1ms}
    requirements:
      - {metric: ns_per_op, where: {backend: wal.none}, at_most: 1s}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of its own, with one shipped scenario file, as working directory."""
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "wal.yaml").write_text(SCENARIOS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(GOLDEN.parents[1]))  # workers find the package
    return tmp_path
