"""The workflows of docs/ci.md: valid, with commands that exist, and no token in reach of a fork."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from bench_cli.cli.main import COMMANDS
from bench_cli.report.markup import MARKER

TEXT = (Path(__file__).parents[1] / "docs" / "ci.md").read_text(encoding="utf-8")
WORKFLOWS: list[dict[Any, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
]
COMMAND = re.compile(r"\.venv/bin/bench ([^>|&\n]+)")
ON = True  # what YAML 1.1 makes of the key `on`


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("line", COMMAND.findall(TEXT))
def test_every_command_exists_with_its_options(line: str) -> None:
    name, *words = shlex.split(line)
    command: click.Command = importlib.import_module(f"bench_cli.cli.{COMMANDS[name][0]}").command
    command.make_context(name, words)


def test_what_runs_code_of_a_pull_request_can_only_read() -> None:
    first, _ = WORKFLOWS
    assert first[ON] == "pull_request"
    assert first["permissions"] == {"contents": "read"}
    assert "secrets." not in str(first)
    assert "token" not in str(first)
    (checkout,) = [step for step in steps(first) if "checkout" in step.get("uses", "")]
    assert checkout["with"]["persist-credentials"] is False


def test_what_can_write_runs_no_code_of_a_pull_request() -> None:
    _, second = WORKFLOWS
    assert list(second[ON]) == ["workflow_run"]
    (checkout,) = [step for step in steps(second) if "checkout" in step.get("uses", "")]
    assert "ref" not in checkout["with"]
    for step in steps(second):
        assert "${{" not in step.get("run", "")  # nothing of a stranger's becomes shell text


def test_a_target_trigger_is_in_neither() -> None:
    assert "pull_request_target" not in str(WORKFLOWS)


def test_the_comment_is_found_by_its_marker() -> None:
    assert MARKER in str(WORKFLOWS[1])
