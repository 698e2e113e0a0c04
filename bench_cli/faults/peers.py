"""The prover proven on engines whose behaviour is known: what SQLite promises at each of its
settings, and what a file that is never synced keeps. All their file work is recorded, commits are
counted, and each image is opened by an ordinary SQLite. What is found must be what is known.

SQLite's own file work goes through a virtual file system in Python (``sqlite_files.py``), which
needs the package ``apsw``; without it those rows are skipped and say so."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bench_cli.faults.images import Content, DiskState
from bench_cli.faults.recorder import HOME, Recorder

COMMITS = 30
WITHOUT_APSW = "skipped: install the extra `peers` (pip install 'bench-cli[peers]')"

Acks = list[tuple[int, int]]
"""(operations done, commits acknowledged by then)."""


def payload(number: int) -> bytes:
    """Of several hundred bytes, so that a commit writes several sectors."""
    return (b"%d " % number) * 120


@dataclass(frozen=True, slots=True)
class Peer:
    """``known``: the most acknowledged commits that a power loss takes (None: any number).
    ``sound``: what is left is a prefix, always. ``work`` commits on a recorded disk and ``read``
    tells the numbers of the commits an image holds, in order; it raises Unreadable."""

    name: str
    told: str
    known: int | None
    sound: bool
    work: Callable[[Recorder, Acks], None]
    read: Callable[[Content, Path], list[int]]
    needs_apsw: bool = True


class Unreadable(Exception):
    """The engine itself says that its file cannot be read, or holds what was never written."""


@dataclass(slots=True)
class Found:
    """``lost``: the most acknowledged commits missing from an image; ``killed`` the same where
    only the process died. ``broken``: images that are no prefix, and how the first is not one."""

    peer: Peer
    images: int = 0
    lost: int = 0
    killed: int = 0
    broken: int = 0
    example: str = ""
    skipped: str | None = None

    @property
    def as_known(self) -> bool:
        """Losing more than is known, or less than was to be shown, is not what is known."""
        peer = self.peer
        lost = self.lost > 1 if peer.known is None else self.lost <= peer.known
        if peer.known == 1:
            lost = self.lost == 1  # the very behaviour that sets it apart from the next
        return not self.killed and lost and peer.sound == (not self.broken)


@dataclass(slots=True)
class _Looking:
    found: Found
    place: Path
    seen: dict[int, int | None] = field(default_factory=dict)

    def last(self, image: Content | None) -> int | None:
        """The last commit of an image; None where it is no prefix of what was done."""
        key = hash(None if image is None else tuple(sorted(image.items())))
        if key not in self.seen:
            self.found.images += 1
            self.seen[key] = self._read(image or {})
        return self.seen[key]

    def _read(self, image: Content) -> int | None:
        try:
            numbers = self.found.peer.read(image, self.place)
            if numbers != list(range(1, len(numbers) + 1)):
                raise Unreadable(f"commits {numbers}")
        except Unreadable as broken:
            self.found.broken += 1
            self.found.example = self.found.example or str(broken)[:200]
            return None
        return len(numbers)


def rediscover(peer: Peer, images: int, seed: int, place: Path) -> Found:
    """``place``: an empty folder for images."""
    found = Found(peer)
    if peer.needs_apsw and not has_apsw():
        found.skipped = WITHOUT_APSW
        return found
    disk, acks = Recorder({}), [(0, 0)]
    peer.work(disk, acks)
    _look(found, disk, acks, images, seed, place)
    return found


def has_apsw() -> bool:
    try:
        import apsw  # noqa: F401  # only whether it is there
    except ImportError:
        return False
    return True


def _look(found: Found, disk: Recorder, acks: Acks, images: int, seed: int, place: Path) -> None:
    """From the first commit on: what was made before it is taken to be on the disk."""
    state, looking = DiskState(disk, seed), _Looking(found, place)
    begin = acks[1][0] if len(acks) > 1 else 0
    told, left = dict(acks), images
    acknowledged = 0
    for moment in range(len(disk.ops) + 1):
        acknowledged = told.get(moment, acknowledged)
        if moment >= begin:
            before = found.images
            last = looking.last(state.newest())
            found.killed = max(found.killed, acknowledged - (last or 0))
            for image in state.images(max(1, left // (len(disk.ops) + 1 - moment))):
                last = looking.last(image)
                if last is not None:
                    found.lost = max(found.lost, acknowledged - last)
            left -= found.images - before
        if moment < len(disk.ops):
            state.do(disk.ops[moment])


def sentence(found: Found) -> str:
    lost = f"up to {found.lost} of {COMMITS} acknowledged commits lost" if found.lost else ""
    broken = f"{found.broken:,} images corrupt" if found.broken else ""
    killed = f"{found.killed} lost by a kill" if found.killed else ""
    return ", ".join(filter(None, (lost, broken, killed))) or "nothing lost"


# --- SQLite ----------------------------------------------------------------------------------


def sqlite(journal: str, synchronous: str) -> Callable[[Recorder, Acks], None]:
    def work(disk: Recorder, acks: Acks) -> None:
        from bench_cli.faults.sqlite_files import opened

        with opened(disk, HOME / "peer.db") as connection:
            if journal == "wal":  # without shared memory
                connection.execute("pragma locking_mode=exclusive")
            connection.execute(f"pragma journal_mode={journal}")
            connection.execute(f"pragma synchronous={synchronous}")
            connection.execute("pragma wal_autocheckpoint=12")
            connection.execute("create table done(number integer primary key, payload blob)")
            connection.execute("pragma wal_checkpoint(truncate)")
            disk.sync_directory(HOME)
            acks.append((len(disk.ops), 0))
            for number in range(1, COMMITS + 1):
                connection.execute("insert into done values(?, ?)", (number, payload(number)))
                acks.append((len(disk.ops), number))

    return work


def read_sqlite(image: Content, place: Path) -> list[int]:
    for old in place.iterdir():
        old.unlink()
    for name, data in image.items():
        (place / name).write_bytes(data)
    try:
        with closing(sqlite3.connect(place / "peer.db")) as connection:
            rows = connection.execute("select number, payload from done order by number").fetchall()
    except sqlite3.DatabaseError as error:
        raise Unreadable(f"SQLite: {error}") from error
    for number, data in rows:
        if data != payload(number):
            raise Unreadable(f"commit {number} is not the one that was made")
    return [number for number, _ in rows]


# --- a file that is never synced ---------------------------------------------------------------


def append_only(disk: Recorder, acks: Acks) -> None:
    fd = disk.open(HOME / "peer.log", os.O_RDWR | os.O_CREAT)
    disk.sync_directory(HOME)
    acks.append((len(disk.ops), 0))
    end = 0
    for number in range(1, COMMITS + 1):
        end += disk.pwrite(fd, payload(number) + b"\n", end)
        acks.append((len(disk.ops), number))
    disk.close(fd)


def read_lines(image: Content, _place: Path) -> list[int]:
    numbers = []
    for line in image.get("peer.log", b"").split(b"\n")[:-1]:
        first = line.partition(b" ")[0]
        if not first.isdigit() or line != payload(int(first)):
            raise Unreadable(f"a line that was never written: {line[:40]!r}")
        numbers.append(int(first))
    return numbers


PEERS: Sequence[Peer] = (
    Peer("sqlite-wal-normal", "loses commits since the last checkpoint", None, True,
         sqlite("wal", "normal"), read_sqlite),
    Peer("sqlite-wal-full", "loses nothing", 0, True, sqlite("wal", "full"), read_sqlite),
    Peer("sqlite-delete-full", "loses at most the last commit", 1, True,
         sqlite("delete", "full"), read_sqlite),
    Peer("sqlite-delete-extra", "loses nothing", 0, True,
         sqlite("delete", "extra"), read_sqlite),
    Peer("plain-file", "loses any number, and what is left may be corrupt", None, False,
         append_only, read_lines, needs_apsw=False),
)  # fmt: skip
