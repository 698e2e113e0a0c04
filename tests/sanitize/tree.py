"""A copy of the sources under ``_tmp/sanitize/``, where the sanitized modules are built: the
ones beside the sources are in use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("bench_cli", "tests", "scenarios", "docs")
FILES = ("setup.py", "pyproject.toml", "README.md", "Makefile")
BUILT_FROM = {".pyx", ".pxd", ".pxi", ".h"}


def is_source(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.suffix != ".so" and path.name != "native.c"


def sources(root: Path) -> Iterator[Path]:
    """The files of the project, relative to ``root``."""
    for part in PARTS:
        for path in (root / part).rglob("*"):
            if path.is_file() and is_source(path.relative_to(root)):
                yield path.relative_to(root)
    yield from (Path(name) for name in FILES)


def is_current(source: Path, copy: Path) -> bool:
    if not copy.exists():
        return False
    ours, theirs = source.stat(), copy.stat()
    return (ours.st_mtime_ns, ours.st_size) == (theirs.st_mtime_ns, theirs.st_size)


def refresh(tree: Path) -> bool:
    """Make ``tree`` a copy of the sources; whether what the modules are built from changed."""
    tree.mkdir(parents=True, exist_ok=True)
    wanted = set(sources(ROOT))
    gone = {path for path in sources(tree) if (tree / path).exists()} - wanted
    stale = {path for path in wanted if not is_current(ROOT / path, tree / path)}
    for path in gone:
        (tree / path).unlink()
    for path in stale:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tree / path)
    return any(path.suffix in BUILT_FROM or path.name == "setup.py" for path in gone | stale)


def is_built(tree: Path) -> bool:
    modules = [path.parent for path in (tree / "bench_cli").rglob("*.pyx")]
    return all(list(room.glob("native.*.so")) for room in modules)


def build(tree: Path, sanitizers: str) -> None:
    """All modules, from scratch: flags and headers are no dependencies setuptools would see."""
    shutil.rmtree(tree / "build", ignore_errors=True)
    for module in (tree / "bench_cli").rglob("native.*.so"):
        module.unlink()
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
    flags = {"BENCH_SANITIZE": sanitizers, "BENCH_REQUIRE_NATIVE": "1"}
    subprocess.run(command, cwd=tree, env=os.environ | flags, check=True)
