"""A small catalogue of its own for the loader, and files written for one test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench_cli import registry
from bench_cli.catalogue import Catalogue
from bench_cli.errors import ScenarioError
from bench_cli.interfaces import Body, Capability, Needs, Parameter, Setting
from bench_cli.scenario import Overrides, Scenario, load

MIB = 1 << 20


@dataclass(frozen=True)
class FakeWorkload:
    """A workload that can be named and never runs."""

    name: str
    engine: str | None
    parameters: tuple[Parameter, ...] = ()
    ceiling_text: str | None = None
    group: str = "fake"
    requires: frozenset[Capability] = frozenset()

    def needs(self, params: Mapping[str, Any]) -> Needs:
        return Needs(memory=params.get("record", 0) * 10, disk=params.get("record", 0) * 100)

    def ceiling(self, params: Mapping[str, Any], backend: str | None) -> str | None:
        return self.ceiling_text.format(**params) if self.ceiling_text else None

    def build(self, setting: Setting) -> Body:
        raise NotImplementedError


APPEND = FakeWorkload(
    "wal.append",
    "wal",
    (
        Parameter("record", "size", 512, "bytes", minimum=1, maximum=32 * MIB),
        Parameter("state", "choice", "steady", "pages", choices=("steady", "cold")),
        Parameter("batch", "int", 1, "records", minimum=1, maximum=65_535),
        Parameter("every", "time", 0, "sync period"),
    ),
    ceiling_text="sum(limits.copy[size={record}], 2x limits.call)",
)
DRAW = FakeWorkload(
    "rewards.draw",
    "rewards",
    (
        Parameter("wal", "backend", "none", "the log", choices=("wal", "none")),
        Parameter("items", "int", 10, "items", minimum=1),
    ),
)
CALL = FakeWorkload("limits.call", None)
COPY = FakeWorkload(
    "limits.copy", None, (Parameter("size", "size", 4096, "bytes", minimum=1, maximum=64 * MIB),)
)
BACKENDS = {
    "wal.none": ("native", "python"),
    "wal.mmap": ("native", "python"),
    "wal.basic": ("native", "python"),
    "wal.sqlite": ("python",),
    "rewards.pool": ("native", "python"),
}


def make_catalogue(native_missing: str | None = None) -> Catalogue:
    return Catalogue(
        workloads={w.name: w for w in (APPEND, DRAW, CALL, COPY)},
        backends=BACKENDS,
        default_core="python" if native_missing else "native",
        native_missing=native_missing,
        native_remedy="install a compiler",
    )


def shipped_catalogue() -> Catalogue:
    """The real names, as on a machine where the compiled twins are built; imports none."""
    return Catalogue(
        workloads=registry.workloads(),
        backends={name: tuple(entry.cores) for name, entry in registry.backends().items()},
        default_core="native",
    )


@pytest.fixture
def catalogue() -> Catalogue:
    return make_catalogue()


@pytest.fixture
def no_native() -> Catalogue:
    return make_catalogue("not built")


Load = Callable[..., list[Scenario]]


@pytest.fixture
def load_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue
) -> Callable[..., list[Scenario]]:
    """``load_text(text, **overrides)`` loads ``a.yaml`` with that text, in a folder of its own;
    more files may be given as ``others={"b.yaml": text}``."""
    monkeypatch.chdir(tmp_path)

    def run(
        text: str,
        others: Mapping[str, str] | None = None,
        known: Catalogue = catalogue,
        **overrides: Any,
    ) -> list[Scenario]:
        for name, content in {"a.yaml": text, **(others or {})}.items():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return load([Path("a.yaml")], known, Overrides(**overrides))

    return run


@pytest.fixture
def problems_of(load_text: Load) -> Callable[..., list[str]]:
    """The problems of a text that must not load."""

    def run(text: str, **more: Any) -> list[str]:
        with pytest.raises(ScenarioError) as caught:
            load_text(text, **more)
        assert caught.value.exit_code == 2
        return caught.value.problems

    return run
