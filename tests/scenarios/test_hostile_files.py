"""Files that are no scenarios, or try to cost time, memory or more: one error, quickly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_cli import scenario_yaml
from bench_cli.catalogue import Catalogue
from bench_cli.errors import ScenarioError
from bench_cli.scenario import load
from bench_cli.scenario_yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES, read

from .conftest import make_catalogue

Problems = Callable[..., list[str]]

BOMB = "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)
)
HOSTILE = {
    "brackets": (b"[" * (MAX_BYTES - 1), f"nested deeper than {MAX_DEPTH} levels"),
    "braces": (b"{a: " * 200_000, f"nested deeper than {MAX_DEPTH} levels"),
    "dashes": (b"- " * 500_000, f"nested deeper than {MAX_DEPTH} levels"),
    "aliases": (b"a: &a [1, 2]\n" + BOMB.encode(), f"more than {MAX_VALUES} values"),
    "many values": (b"- 1\n" * 200_000, f"more than {MAX_VALUES} values"),
    "large": (b"#" * (MAX_BYTES + 1), "larger than 1 MiB"),
    "latin-1": (b"# \xe9\n", "a.yaml:1: byte 0xe9 is not UTF-8"),
    "utf-16": ("scenarios: []".encode("utf-16"), "a.yaml:1: byte 0xff is not UTF-8"),
    "escape": (b"# \n# \x1b[31m\n", "a.yaml:2: a control character"),
    "nul": (b"a: \0\n", "a.yaml:1: a control character"),
    "one endless word": (b"x: " + b"a" * 1_000_000, "a scenario file has no key 'x'"),
    "one endless key": (b"? " + b"a" * 1_000_000 + b"\n: 1\n", "a scenario file has no key 'aaa"),
}


def problems_of_bytes(data: bytes, folder: Path, catalogue: Catalogue) -> list[str]:
    path = folder / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(ScenarioError) as caught:
        load([path], catalogue)
    return [problem.replace(str(folder) + "/", "") for problem in caught.value.problems]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_short_error(name: str, tmp_path: Path, catalogue: Catalogue) -> None:
    data, reason = HOSTILE[name]
    problems = problems_of_bytes(data, tmp_path, catalogue)
    assert reason in problems[0]
    assert all(len(problem) < 400 for problem in problems)


@pytest.mark.parametrize("name", ["brackets", "braces", "dashes", "aliases", "nul"])
def test_the_bounds_hold_for_the_reader_without_libyaml_too(
    name: str, tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenario_yaml, "_LOADER", scenario_yaml.yaml.SafeLoader)
    data, reason = HOSTILE[name]
    assert reason in problems_of_bytes(data, tmp_path, catalogue)[0]


def test_nesting_and_values_are_counted_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader stops at the bound instead of building the text first."""
    seen = 0
    parse = scenario_yaml.yaml.parse

    def counted(*args: object, **named: object) -> object:
        nonlocal seen
        for event in parse(*args, **named):  # type: ignore[arg-type]
            seen += 1
            yield event

    monkeypatch.setattr(scenario_yaml.yaml, "parse", counted)
    with pytest.raises(Exception, match="nested deeper"):
        scenario_yaml._parse("[" * 100_000, "a.yaml")
    assert seen < MAX_DEPTH + 5


def test_aliases_within_the_bound_are_written_out(load_text: Callable[..., list[object]]) -> None:
    text = (
        "scenarios:\n"
        "  - {name: a, workload: limits.copy, matrix: &m {size: [1K, 2K]}}\n"
        "  - {name: b, workload: wal.append, params: {backend: wal.mmap}, plan: &p {samples: 1}}\n"
        "  - {name: c, workload: limits.call, plan: *p}\n"
    )
    assert len(load_text(text)) == 3


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_the_depth_bound_is_exact(depth: int, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("[" * (depth - 1) + "x" + "]" * (depth - 1))
    assert (read(path).tree is None) == (depth > MAX_DEPTH)


def test_a_missing_file_offers_the_closest(tmp_path: Path, catalogue: Catalogue) -> None:
    (tmp_path / "rewards.yaml").write_text("scenarios: []\n")
    with pytest.raises(ScenarioError) as caught:
        load([tmp_path / "reward.yaml"], catalogue)
    expected = f"{tmp_path}/reward.yaml: no such file; did you mean {tmp_path}/rewards.yaml?"
    assert caught.value.problems == [expected]


def test_a_directory_is_named_with_its_files(tmp_path: Path, catalogue: Catalogue) -> None:
    (tmp_path / "rewards.yaml").touch()
    with pytest.raises(ScenarioError) as caught:
        load([tmp_path], catalogue)
    expected = f"{tmp_path}: is a directory; name a file in it: rewards.yaml"
    assert caught.value.problems == [expected]


def test_a_fifo_is_refused_without_waiting(tmp_path: Path, catalogue: Catalogue) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(ScenarioError, match="is not a regular file"):
        load([tmp_path / "a.yaml"], catalogue)


@pytest.mark.parametrize("name", ["a\0b.yaml", "x" * 5000 + ".yaml"])
def test_a_path_that_cannot_be_is_refused(name: str, catalogue: Catalogue) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load([Path(name)], catalogue)


def test_a_link_out_of_the_folder_cannot_be_extended(tmp_path: Path, catalogue: Catalogue) -> None:
    (tmp_path / "secret.yaml").write_text("scenarios: [{name: p, workload: limits.call}]\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    (inner / "a.yaml").write_text("scenarios: [{name: s, extends: 'link.yaml#p'}]\n")
    with pytest.raises(ScenarioError, match=r"'link\.yaml' lies outside"):
        load([inner / "a.yaml"], catalogue)


def test_a_matrix_too_large_is_refused_before_it_is_multiplied_out(problems_of: Problems) -> None:
    values = ", ".join(str(n) for n in range(1, 1000))
    text = (
        "scenarios:\n  - name: s\n    workload: wal.append\n    params: {backend: wal.mmap}\n"
        f"    matrix:\n      record: [{values}]\n      batch: [{values}]\n"
        f"      every: [{', '.join(f'{n}ns' for n in range(1000))}]\n"
    )
    assert problems_of(text) == ["a.yaml:2: the matrix has 998001000 cells; at most 5000"]


def test_several_scenarios_share_one_bound(problems_of: Problems) -> None:
    values = ", ".join(str(n) for n in range(1, 3002))
    row = "  - {{name: {0}, workload: wal.append, matrix: {{backend: [{1}], batch: [{2}]}}}}\n"
    text = "scenarios:\n" + row.format("a", "wal.mmap", values)
    text += row.format("b", "wal.basic", values)
    assert problems_of(text) == [
        "a.yaml:3: the matrix has 3001 cells; only 1999 of 5000 are left for all files"
    ]


WORDS = st.sampled_from(
    ["scenarios", "name", "workload", "params", "matrix", "backend", "wal.mmap", "wal.append",
     "record", "4K", ":", "-", " ", "\n", "{", "}", "[", "]", "&a", "*a", "!!int", "<<", "'",
     '"', "#", "?", "|", ">", "%", "\t", "extends", "requirements", "at_most", "sum(", ","]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=200), st.lists(WORDS, max_size=60).map("".join)))
def test_no_bytes_make_the_loader_fail_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, data: bytes | str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(ScenarioError):
        load([path], make_catalogue())
