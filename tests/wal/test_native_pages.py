"""A reopened segment gets its pages as it fills; one that is made gets them all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_cli.interfaces import LogOptions

native = pytest.importorskip("bench_cli.wal.native")
SEGMENT = 8 << 20
OPTIONS = LogOptions(segment_size=SEGMENT)


def resident(path: Path) -> int:
    """Bytes of the mapping of ``path`` that this process has pages for."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(1024 * int(rest.split()[1]) for rest in lines if rest.startswith("Rss:"))
    raise AssertionError(f"{path} is not mapped")


@pytest.mark.parametrize("size", [16, 700_000])
def test_a_reopened_segment_gets_its_pages_as_it_fills(tmp_path: Path, size: int) -> None:
    log = native.MmapBackend().open(tmp_path, OPTIONS)
    [path] = tmp_path.iterdir()
    assert resident(path) == SEGMENT
    log.append(b"first")
    log.close()
    log = native.MmapBackend().open(tmp_path, OPTIONS)
    assert resident(path) == 0
    log.append(bytes(size))
    assert size < resident(path) < SEGMENT // 2
    while log.stats().rotations == 0:
        log.append(bytes(700_000))
    log.close()
    found = native.MmapBackend().recover(tmp_path, OPTIONS)
    assert (found.records, found.tail) == (log.stats().last_sequence, "clean")
