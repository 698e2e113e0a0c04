"""What the README shows is what the tool prints and reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench_cli import catalogue, scenario
from bench_cli.cli.main import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_help_in_the_readme_is_what_bench_prints(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    shown = re.search(r"<!-- help.*?-->\n```text\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert shown.group(1).strip() == capsys.readouterr().out.strip()


def test_the_scenario_in_the_readme_is_a_valid_one(tmp_path: Path) -> None:
    shown = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    path = tmp_path / "my.yaml"
    path.write_text(shown.group(1))
    loaded = scenario.load([path], catalogue.from_registry())
    assert [len(one.cells) for one in loaded] == [4]


def test_every_make_target_and_file_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", README) + re.findall(
        r"(?m)^make ([a-z-]+)", README
    ):
        assert re.search(rf"(?m)^{target}:", makefile), target
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link
