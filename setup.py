"""Builds the compiled twins. They are optional: without a compiler the install still succeeds
and the Python twins run (every table says which twin ran)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).parent
COMPILE = ["-O3", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function", "-pthread"]
LINK = ["-pthread"]


def sanitizer_flags() -> list[str]:
    """``BENCH_SANITIZE=address,undefined`` builds the twins under those sanitizers. An overflow is
    a finding although Python's own flags give it a meaning, and a finding ends the process."""
    wanted = os.environ.get("BENCH_SANITIZE", "")
    if not wanted:
        return []
    found = [f"-fsanitize={wanted}", "-fno-sanitize-recover=all", "-fstrict-overflow"]
    return [*found, "-O1", "-g1", "-fno-omit-frame-pointer"]


def extensions() -> list[Extension]:
    if os.environ.get("BENCH_NO_NATIVE"):
        return []
    import numpy
    from Cython.Build import cythonize

    sources = sorted(path.relative_to(ROOT) for path in (ROOT / "bench_cli").rglob("*.pyx"))
    modules = [
        Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            include_dirs=[str(path.parent), "bench_cli/wal", numpy.get_include()],
            depends=[str(h) for h in sorted((ROOT / path.parent).glob("*.h"))],
            extra_compile_args=COMPILE + sanitizer_flags(),
            extra_link_args=LINK + sanitizer_flags(),
        )
        for path in sources
    ]
    built: list[Extension] = cythonize(modules, language_level=3, annotate=False)
    for module in built:  # set here, because cythonize does not carry it over
        module.optional = not os.environ.get("BENCH_REQUIRE_NATIVE")
    return built


setup(ext_modules=extensions() if sys.platform.startswith("linux") else [])
