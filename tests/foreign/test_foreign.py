"""Somebody else's log and pool, through scenarios, without a change to the tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench_cli.cli.main import run

SCENARIO = """
defaults: {plan: {processes: 1, samples: 1, min_sample: 1ms}}
scenarios:
  - name: foreign-log
    workload: wal.append
    params: {record: 64B, batch: 100}
    matrix: {backend: ["tests.foreign.backends:SlowLogBackend", wal.basic], core: [python]}
  - name: foreign-pool
    workload: rewards.draw
    params: {backend: "tests.foreign.tickets:TicketBackend", core: python, batch: 1000}
    matrix: {wal: [wal.none, "tests.foreign.backends:SlowLogBackend"]}
  - name: foreign-cannot
    workload: wal.append_remove
    params: {backend: "tests.foreign.backends:SlowLogBackend"}
"""


def test_foreign_backends_stand_beside_ours_in_a_scenario(tmp_path: Path) -> None:
    scenario, output = tmp_path / "foreign.yaml", tmp_path / "result.json"
    scenario.write_text(SCENARIO)
    assert run(["run", str(scenario), "--allow-code", "-o", str(output)]) == 0
    rows = {row["id"]: row for row in json.loads(output.read_text())["results"]}
    ours = [row for row in rows.values() if row["backend"]]
    assert [row["status"] for row in ours] == ["ok"] * 4 + ["skipped"]
    assert "file-records" in ours[-1]["reason"]
    assert ours[0]["durability"]["level"] == "D1"
    assert ours[0]["durability"]["damage"] == "C0"


def test_code_in_a_scenario_needs_leave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = tmp_path / "foreign.yaml"
    scenario.write_text(SCENARIO)
    assert run(["run", str(scenario)]) == 2
    assert "--allow-code" in capsys.readouterr().err
