"""A pool on a log in a folder, for tests of what outlives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench_cli.interfaces import FileSystem, Item, LogOptions, Recovery

ITEMS = (
    Item("gold coin", 1, 30),
    Item("two\nlines", 2, 60),
    Item("tin", 7, None),
    Item("none", 1, 0),
)
SEGMENT = 1 << 16


class Life:
    """A pool on a log in a folder, from opening to the end of the process."""

    def __init__(
        self,
        backend: Any,
        logs: Any,
        home: Path,
        *,
        items: Any = ITEMS,
        files: FileSystem | None = None,
        log_format: str = "binary",
    ) -> None:
        self.backend, self.logs, self.home, self.items = backend, logs, home, items
        self.options = LogOptions(format=log_format, segment_size=SEGMENT, file_system=files)
        self.log: Any = None

    def begin(self) -> Any:
        self.log = self.logs.open(self.home, self.options)
        return self.backend.open(self.items, seed=1, log=self.log)

    def recover(self) -> tuple[Any, Recovery]:
        pool, self.log, recovery = self.backend.recover(
            self.items, seed=2, backend=self.logs, directory=self.home, options=self.options
        )
        return pool, recovery

    def end(self) -> None:
        self.log.close()

    def after(self, pool: Any) -> tuple[Any, Recovery]:
        """The pool that a recovery makes of what ``pool`` left; both must agree."""
        self.end()
        again, recovery = self.recover()
        assert (again.drawn, again.stock()) == (pool.drawn, pool.stock())
        return again, recovery


def names(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("rewards-*"))


def prepared(life: Life, incremental: bool) -> Any:
    pool = life.begin()
    pool.draw_many(20)
    if incremental:
        pool.snapshot(life.home)
        pool.draw_many(20)
    pool.draw()
    return pool
