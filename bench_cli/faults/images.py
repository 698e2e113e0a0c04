"""Legal post-crash disks from a recording.

What a system crash may leave after operation ``n``, given what was synced by then:

- Each 512-byte sector written since its last successful sync holds any content it had since, or
  the one before (zeros where nothing was written yet), whatever its neighbours hold. A write cut
  at any sector is one of these; so is any earlier version of a mapped page.
- A store into a mapping may be caught half done: cut at any 8 bytes.
- A file has any length it had since its last successful sync.
- A name is there or not, as before or after each change since the last sync of its folder,
  whatever became of the others.
- After a *failed* sync the pages it was to write are clean to the system: no later sync brings
  them to the disk until they are written again.

The sync of a range covers the 4 KiB pages it touches.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from bench_cli.faults.recorder import HOME, ROOT, Op, Recorder

SECTOR = 512
PAGE = 4096
ENUMERATED = 64  # up to so many choices are all made; beyond, as many are drawn

Content = dict[str, bytes]


@dataclass(slots=True)
class FileState:
    """``now`` is the newest content; ``older`` the other contents each uncertain sector may have;
    ``sizes`` the other lengths. ``stuck`` are sectors a failed sync left behind."""

    now: bytearray = field(default_factory=bytearray)
    older: dict[int, list[bytes]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    stuck: set[int] = field(default_factory=set)
    syncing: dict[int, tuple[dict[int, list[bytes]], list[int]]] = field(default_factory=dict)
    """Of each sync that others write during, by the operation that ends it: ``older`` and ``sizes``
    as they are if it succeeds."""
    whole: bytes | None = b""  # of ``now``; None when it has to be made again
    axes: list[int] = field(default_factory=list)  # ``choices`` of what it is now
    made: dict[tuple[int, ...], bytes] = field(default_factory=dict)
    """Contents built since the last operation, by choice: one file's recur with the choices of
    the others."""

    def write(self, offset: int, data: bytes, cut: int) -> None:
        """``cut`` > 0: the content with only so many bytes of ``data`` is possible too."""
        if not data:
            return
        end = offset + len(data)
        if end > len(self.now):
            self.resize(end)
        self._remember(offset, end)
        if cut:
            self.now[offset : offset + cut] = data[:cut]
            self._remember(offset, end)
        self.now[offset:end] = data
        self.stuck -= {
            sector
            for sector in self.stuck
            if offset // PAGE <= sector * SECTOR // PAGE <= (end - 1) // PAGE
        }
        self._changed()

    def _changed(self) -> None:
        self.whole = None
        self._forget()

    def _forget(self) -> None:
        self.made.clear()
        self.axes = []

    def _remember(self, offset: int, end: int) -> None:
        for sector in range(offset // SECTOR, (end - 1) // SECTOR + 1):
            held = bytes(self.now[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")
            for older in (self.older, *(later for later, _ in self.syncing.values())):
                versions = older.setdefault(sector, [])
                if held not in versions:
                    versions.append(held)

    def resize(self, length: int) -> None:
        for sizes in (self.sizes, *(later for _, later in self.syncing.values())):
            sizes.append(len(self.now))
        if length < len(self.now):
            self._remember(length, len(self.now))
            del self.now[length:]
        else:
            self.now.extend(bytes(length - len(self.now)))
        self._changed()

    def begin_sync(self, ends: int) -> None:
        self.syncing[ends] = {}, []

    def sync(self, start: int, end: int, number: int = -1) -> None:
        """The pages of ``start..end`` (-1: all) are on the disk as they were when this operation,
        of that ``number``, began."""
        later, self.sizes = self.syncing.pop(number, ({}, []))
        self._forget()
        for sector in self._covered(start, end):
            if sector in self.stuck:
                continue
            if sector in later:
                self.older[sector] = later[sector]
            else:
                del self.older[sector]

    def sync_failed(self, start: int, end: int, number: int = -1) -> None:
        self.syncing.pop(number, None)
        self.stuck.update(self._covered(start, end))

    def _covered(self, start: int, end: int) -> list[int]:
        if end < 0:
            return list(self.older)
        first, last = start // PAGE, (max(end, start + 1) - 1) // PAGE
        return [sector for sector in self.older if first <= sector * SECTOR // PAGE <= last]

    def newest(self) -> bytes:
        if self.whole is None:
            self.whole = bytes(self.now)
        return self.whole

    def choices(self) -> list[int]:
        """How many values each uncertain thing has: the length first, then the sectors."""
        if not self.axes:
            self.axes = [len(self.sizes) + 1, *(len(some) + 1 for some in self.older.values())]
        return self.axes

    def content(self, choice: tuple[int, ...]) -> bytes:
        """0 is the newest of each thing."""
        if choice not in self.made:
            self.made[choice] = self._build(choice) if any(choice) else self.newest()
        return self.made[choice]

    def _build(self, choice: tuple[int, ...]) -> bytes:
        made = bytearray(self.now)
        if choice[0]:
            length = self.sizes[choice[0] - 1]
            if length > len(made):
                made.extend(bytes(length - len(made)))
            del made[length:]
        for (sector, versions), chosen in zip(self.older.items(), choice[1:], strict=True):
            at = sector * SECTOR
            if chosen and at < len(made):
                made[at : at + SECTOR] = versions[chosen - 1][: len(made) - at]
        return bytes(made)


class DiskState:
    """The disk of a recording after some of its operations."""

    def __init__(self, recorded: Recorder, seed: int) -> None:
        self.random = random.Random(seed)
        self.files = {
            number: FileState(bytearray(data), whole=data)
            for number, data in enumerate(recorded.start_files)
        }
        self.durable = {folder: dict(names) for folder, names in recorded.start.items()}
        self.pending: list[Op] = []  # changes of names, in order
        self.done = 0
        self.begins = {
            op.since: (op.file, at) for at, op in enumerate(recorded.ops) if op.since >= 0
        }

    def do(self, op: Op) -> None:
        if self.done in self.begins:
            file, ends = self.begins[self.done]
            self.files[file].begin_sync(ends)
        self._do(op)
        self.done += 1

    def _do(self, op: Op) -> None:
        if op.kind in ("create", "mkdir", "rename", "unlink"):
            if op.kind == "create":
                self.files[op.file] = FileState()
            self.pending.append(op)
        elif op.kind == "syncdir":
            self._sync_names(op.folder)
        else:
            self._do_in_file(self.files[op.file], op)

    def _do_in_file(self, file: FileState, op: Op) -> None:
        if op.kind == "write":
            file.write(op.offset, op.data, 0)
        elif op.kind == "store":
            words = len(op.data) // 8
            file.write(op.offset, op.data, 8 * self.random.randrange(1, words) if words > 1 else 0)
        elif op.kind == "size":
            file.resize(op.offset)
        elif op.kind == "sync":
            file.sync(op.offset, op.end, self.done)
        else:
            file.sync_failed(op.offset, op.end, self.done)

    def _sync_names(self, folder: str) -> None:
        for op in self.pending:
            if op.folder == folder:
                _apply(self.durable, op)
        self.pending = [op for op in self.pending if op.folder != folder]

    # --- images ------------------------------------------------------------------------------

    def newest(self) -> Content | None:
        """What a killed process leaves: everything done is there."""
        names = self._names((0,) * len(self.pending))
        if names is None:
            return None
        return {name: self.files[n].newest() for name, n in names.items() if n >= 0}

    def images(self, most: int) -> Iterator[Content | None]:
        """Up to ``most`` images of a crash now; all there are where they are few."""
        axes, parts = [2] * len(self.pending), {}
        for number, file in self.files.items():
            own = file.choices()
            parts[number] = slice(len(axes), len(axes) + len(own))
            axes += own
        named: dict[tuple[int, ...], dict[str, int] | None] = {}
        for choice in self._choices(axes, most):
            head = choice[: len(self.pending)]
            if head not in named:
                named[head] = self._names(head)
            names = named[head]
            yield (
                None
                if names is None
                else {
                    name: self.files[number].content(choice[parts[number]])
                    for name, number in names.items()
                    if number >= 0
                }
            )

    def _choices(self, axes: list[int], most: int) -> Iterator[tuple[int, ...]]:
        total = 1
        for axis in axes:
            total *= axis
            if total > min(most, ENUMERATED):
                break
        else:
            yield from product(*(range(axis) for axis in axes))
            return
        uncertain = [index for index, axis in enumerate(axes) if axis > 1]
        for index in range(most):
            yield self._drawn(axes, uncertain, index)

    def _drawn(self, axes: list[int], uncertain: list[int], index: int) -> tuple[int, ...]:
        """All at random, or but a few things old, or but a few things new: the images that bugs
        show in are at these corners."""
        chance = self.random.random
        choice = [0] * len(axes)
        share = (0.5, 0.5, 0.15, 0.85)[index % 4]
        for at in uncertain:
            if chance() < share:
                choice[at] = 1 + int(chance() * (axes[at] - 1))
        return tuple(choice)

    def _names(self, choice: Sequence[int]) -> dict[str, int] | None:
        if not self.pending:
            return self.durable.get(str(HOME)) if HOME.name in self.durable[str(ROOT)] else None
        folders = {folder: dict(names) for folder, names in self.durable.items()}
        for op, old in zip(self.pending, choice, strict=True):
            if not old:
                _apply(folders, op)
        return folders.get(str(HOME)) if HOME.name in folders[str(ROOT)] else None


def _apply(folders: dict[str, dict[str, int]], op: Op) -> None:
    names = folders.setdefault(op.folder, {})
    if op.kind == "rename":
        names.pop(op.names[0], None)
        names[op.names[1]] = op.file
    elif op.kind == "unlink":
        names.pop(op.names[0], None)
    else:
        names[op.names[0]] = op.file
        if op.kind == "mkdir":
            folders.setdefault(f"{op.folder}/{op.names[0]}", {})
