"""What commands print, kept as files. ``UPDATE_GOLDEN=1 pytest tests/cli/test_golden.py`` writes
them anew; read the difference before you commit it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import GOLDEN, Bench

CASES = {
    "show": ("show", "run.json"),
    "show-python": ("show", "python.json"),
    "compare": ("compare", "run.json", "head.json"),
    "compare-all": ("compare", "run.json", "run.json", "--all"),
}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", CASES)
def test_output_is_as_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, width: int
) -> None:
    monkeypatch.chdir(GOLDEN)
    found = bench(*CASES[name], width=width).out
    # a command is there to be copied, so it stays on its line
    told = [line for line in found.splitlines() if not line.startswith("  bench ")]
    assert max(map(len, told)) <= width
    assert found.isprintable() or set(found) - {"\n"} == {c for c in found if c.isprintable()}
    kept = GOLDEN / f"{name}-{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        kept.write_text(found, encoding="utf-8")
    assert found == kept.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 100, 200, 400])
@pytest.mark.parametrize("name", ["run.json", "python.json"])
def test_no_number_is_cut_at_any_width(bench: Bench, name: str, width: int) -> None:
    """Every word of the narrow output that is a number stands in the widest output too."""
    widest = bench("show", GOLDEN / name, width=1000).out.split()
    narrow = bench("show", GOLDEN / name, width=width).out
    numbers = [word for word in narrow.split() if word.replace(",", "").replace(".", "").isdigit()]
    assert numbers
    assert set(numbers) <= set(widest)


def test_golden_files_belong_to_a_case() -> None:
    known = {f"{name}-{width}.txt" for name in CASES for width in (80, 120)}
    assert {path.name for path in Path(GOLDEN).glob("*.txt")} == known
