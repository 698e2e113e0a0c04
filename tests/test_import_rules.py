"""Who may import whom: an import walk over the sources, including imports inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench_cli

PACKAGE = Path(bench_cli.__file__).resolve().parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
ENGINES = ("cache", "wal", "rewards", "peers")
ABOVE_ENGINES = ("runner", "report", "stats", "cli")
LOWEST = ("errors", "metrics", "interfaces")
MAX_LINES = 500


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Full names of what a file imports, also of names that may be modules."""
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def reaches(path: Path, *forbidden: str) -> list[str]:
    return [
        name
        for name in imports_of(path)
        if any(name == one or name.startswith(f"{one}.") for one in forbidden)
    ]


def ours(*rooms: str) -> tuple[str, ...]:
    return tuple(f"bench_cli.{room}" for room in rooms)


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


every_source = pytest.mark.parametrize("path", SOURCES, ids=ids)


def test_the_walk_sees_imports_of_every_form(tmp_path: Path) -> None:
    source = PACKAGE / "wal" / "imagined.py"
    text = "import click.core\nfrom bench_cli import runner\ndef f():\n    from ..cli import main\n"
    tree = tmp_path / "imagined.py"
    tree.write_text(text)

    class Imagined(type(source)):  # type: ignore[misc]  # a path whose text is elsewhere
        def read_text(self, *args: object, **kwargs: object) -> str:
            return text

    found = list(imports_of(Imagined(source)))
    assert {"click.core", "bench_cli.runner", "bench_cli.cli.main"} <= set(found)


@every_source
def test_imports_go_downwards_only(path: Path) -> None:
    room = room_of(path)
    forbidden: tuple[str, ...] = ()
    if room in LOWEST:
        others = {room_of(source) for source in SOURCES} - set(LOWEST) - {"__init__"}
        forbidden = ours(*sorted(others))
    elif room == "payloads":
        others = {room_of(source) for source in SOURCES} - set(LOWEST) - {"__init__", room}
        forbidden = ours(*sorted(others))
    elif room in ENGINES:
        forbidden = ours(*ABOVE_ENGINES)
    elif room == "workloads":
        forbidden = ours(*ENGINES, *ABOVE_ENGINES)
    elif room == "runner":
        forbidden = ours(*ENGINES, "report", "cli")
    elif room == "report":
        forbidden = ours("runner", "cli", *ENGINES)
    elif room == "stats":
        forbidden = ours("runner", "report", "cli", *ENGINES)
    assert reaches(path, *forbidden) == []


@every_source
def test_click_is_known_to_the_command_line_only(path: Path) -> None:
    if room_of(path) != "cli":
        assert reaches(path, "click") == []


@every_source
def test_rich_is_known_to_the_command_line_and_the_console_only(path: Path) -> None:
    if room_of(path) != "cli" and path != PACKAGE / "report" / "console.py":
        assert reaches(path, "rich") == []


@every_source
def test_statistics_neither_read_write_nor_print(path: Path) -> None:
    if room_of(path) == "stats":
        assert reaches(path, "os", "io", "pathlib", "sys", "subprocess", "json") == []
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"print", "open", "input"}


def test_the_runner_knows_no_backend_by_name() -> None:
    from bench_cli.registry import _BUILT_IN

    names = [f'"{entry.name}"' for entry in _BUILT_IN]
    for path in (PACKAGE / "runner").glob("*.py"):
        text = path.read_text(encoding="utf-8").replace("'", '"')
        assert not [name for name in names if name in text], path.name


@every_source
def test_files_stay_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES
