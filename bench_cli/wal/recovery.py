"""Reading a log back: what is there, what was cut, what is damaged.

Recovery never changes a file and never raises for damage. Each case comes from a crash or from
damage of its own:

- A frame that does not check, and later frames of which one says "all up to n was durable when I
  was written", n covering the bad one: no crash does that. It is *damage*, the log is corrupt.
- A frame that does not check and later valid frames without such a promise: an OS crash wrote the
  later pages and not the earlier one. The later ones were never acknowledged as durable: they are
  discarded and counted.
- A frame that does not check and nothing valid behind it: a write was torn. The bytes are dropped.
  Damage to the very last durable frame looks the same, so the bytes are called ambiguous too.
- A last file that holds nothing behind its header: the next segment, made ahead of need, and never
  used. It is ignored, also when its header is not whole: the crash came while it was made.
- A header that does not check, with bytes behind it: damage. It was durable before the segment was
  used. A file that is missing between others is damage for the same reason.
- A last segment that is shorter than its header says, without the clean-close mark: the crash came
  while it was made or opened again, and nothing is missing; or someone cut it, and what was behind
  is gone. Nobody can tell: the bytes it lacks are ambiguous.
- A base segment with files before it: a crash stopped an emptying of the log, or the removal of
  its oldest segments, before the old files were gone. They are ignored.
- A header numbered one above its file name: a crash stopped an emptying before the rename. The old
  header counts, and with it the whole old log.
- A segment whose link names a later record than the next one expected: the one before ends early.
  Only watermarks tell whether that was promised, as a rotation syncs nothing.
- A segment whose link has another chain value, or names an earlier record: damage.

Records are delivered up to the first gap and never beyond it. A repair would start from ``Scan``,
which knows every gap and what is whole behind it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench_cli.errors import LogCorrupt
from bench_cli.interfaces import Apply, Damage, FileSystem, LogOptions, Recovery
from bench_cli.wal.codec import CODECS, Codec
from bench_cli.wal.format import (
    DATA_START,
    FOOTER,
    MAX_SEGMENT,
    MAX_SEQUENCE,
    SLOT,
    Frame,
    SegmentHeader,
    choose_header,
    decode_link,
    salt_seed,
    segment_name,
)
from bench_cli.wal.reader import Reader, Unreadable

# O_NONBLOCK and O_NOFOLLOW: a FIFO or a link under a segment's name is damage, not a trap.
READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
MAX_DAMAGES = 1000  # bounds the report on a file that is damaged everywhere
HEAD = DATA_START + 64
_NOTHING = bytes(HEAD - DATA_START)
_SEGMENT_NAME = re.compile(r"[0-9]{8,19}\.wal")


@dataclass(slots=True)
class _Gap:
    """Where the run of valid frames breaks off. ``end`` and ``last`` are set when it goes on."""

    path: str
    offset: int
    first: int
    reason: str
    end: int
    last: int = 0

    def damage(self) -> Damage:
        first = self.first if self.first <= self.last else 0
        last = self.last if first else 0
        return Damage(self.path, self.offset, self.end - self.offset, self.reason, first, last)


@dataclass(slots=True)
class SegmentFile:
    """A file of the log; ``slot`` says which of its headers counts."""

    path: Path
    number: int
    header: SegmentHeader | None
    slot: int
    size: int
    why: str = ""
    unreadable: bool = False
    begun: bool = False  # something stands right behind the headers


@dataclass(slots=True)
class Scan:
    """A recovery under way, and what ``open`` needs of it afterwards: the segments that count,
    those left over, where the last frame ends and its checksum."""

    apply: Apply | None
    live: list[SegmentFile] = field(default_factory=list)
    leftover: list[SegmentFile] = field(default_factory=list)
    resume: SegmentFile | None = None  # where delivering stopped
    ends: list[int] = field(default_factory=list)  # logical ends, one per live segment
    lasts: list[int] = field(default_factory=list)  # the last sequence of each of them
    first: int = 0
    next: int = 1
    records: int = 0
    chain: int = 0  # checksum of the last frame delivered
    link: int = 0  # checksum of the last valid frame
    promised: int = 0  # highest watermark seen
    newest: int = 0  # the highest first record of a gap
    later: int = 0  # valid records behind a gap
    position: int = DATA_START  # end of the last valid frame of the segment
    end: int = DATA_START  # end of the last record delivered from it: the footer stands behind
    why: str = ""  # what stands at ``position`` instead of a frame
    tail: int = 0  # bytes behind ``position`` in the segment
    dropped: int = 0
    cut: int = 0  # bytes the last segments lack of their capacity without having been closed
    bytes_read: int = 0
    gaps: list[_Gap] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        return not self.gaps and not self.damages

    @property
    def next_sequence(self) -> int:
        """What the next record will be numbered: after the last one delivered."""
        return max(1, self.first + self.records)

    def gap(self, path: Path, end: int, last: int) -> None:
        self.newest = max(self.newest, self.next)
        if len(self.gaps) < MAX_DAMAGES:
            self.gaps.append(_Gap(str(path), self.position, self.next, self.why, end, last))

    def damage(self, damage: Damage) -> None:
        if len(self.damages) < MAX_DAMAGES:
            self.damages.append(damage)

    def deliver(self, frame: Frame, payloads: Sequence[memoryview]) -> None:
        if self.apply is not None:
            for index, payload in enumerate(payloads):
                self.apply(frame.sequence + index, frame.kind, payload)
        self.records += frame.count

    def result(self) -> Recovery:
        torn = bool(self.gaps) or self.dropped > 0
        dropped = 0 if self.damages else self.dropped
        return Recovery(
            records=self.records,
            first_sequence=self.first if self.records else 0,
            last_sequence=max(0, self.first + self.records - 1),
            tail="corrupt" if self.damages else "torn" if torn else "clean",
            segments=len(self.live),
            bytes_read=self.bytes_read,
            dropped_bytes=dropped,
            discarded_records=self.later,
            ambiguous_tail_bytes=0 if self.damages else dropped or self.cut,
            damages=tuple(self.damages),
        )

    def refuse_damage(self) -> None:
        """Raises LogCorrupt for the first damage: what was promised must not be cut silently."""
        if self.damages:
            damage = self.damages[0]
            raise LogCorrupt(
                f"{damage.path} is damaged at offset {damage.offset}: {damage.reason}",
                path=damage.path,
                offset=damage.offset,
                remedy="recover it for reading, or restore the file from a copy",
            )


Walk = Callable[[Reader, int, int, Scan], None]
"""``walk(reader, limit, seed, scan)``: delivers the undamaged frames from ``scan.position`` on,
stopping at the first that needs a verdict; a footer at the very end needs none. The compiled twin
brings its own."""


def recover(
    directory: Path,
    options: LogOptions,
    fs: FileSystem,
    apply: Apply | None = None,
    walk: Walk | None = None,
) -> Scan:
    """Read the log in ``directory``. Raises what ``apply`` raises, nothing for damage."""
    codec = CODECS[options.format]
    scan = Scan(apply)
    unused = _choose_segments(scan, list(segment_files(directory, fs, codec)), fs)
    previous: SegmentFile | None = None
    for segment in scan.live:
        if segment.header is None:
            scan.damage(Damage(str(segment.path), 0, segment.size, segment.why, scan.next))
        else:
            try:
                _read_segment(scan, segment, previous, fs, codec, walk)
            except Unreadable as error:
                scan.damage(Damage(str(segment.path), 0, segment.size, str(error)))
        previous = segment
    _check_unused(scan, unused, previous)
    for gap in scan.gaps:
        if gap.first <= scan.promised:
            scan.damage(gap.damage())
    scan.damages.sort(key=lambda damage: (damage.path, damage.offset))
    _drop_unread(scan)
    scan.leftover += unused
    return scan


# --- which files count -----------------------------------------------------------------------


def segment_files(directory: Path, fs: FileSystem, codec: Codec) -> Iterator[SegmentFile]:
    try:
        names = filter(_SEGMENT_NAME.fullmatch, fs.listdir(directory))
        numbers = sorted({name: int(name[:-4]) for name in names}.items(), key=lambda item: item[1])
    except FileNotFoundError:
        return
    for name, number in numbers:
        path = directory / name
        try:
            fd = fs.open(path, READ_FLAGS)
            try:
                size, head = fs.size(fd), _head(fs, fd)
            finally:
                fs.close(fd)
        except (OSError, Unreadable) as error:
            yield SegmentFile(path, number, None, 0, 0, f"cannot be read: {error}", True)
            continue
        slots = codec.parse_header(head[:SLOT]), codec.parse_header(head[SLOT:DATA_START])
        begun = head[DATA_START:] != _NOTHING[: len(head) - DATA_START]
        chosen = choose_header(slots, number)
        if chosen is None:
            why = f"the segment header is not a valid one of the {codec.name} format"
            yield SegmentFile(path, number, None, 0, size, why, begun=begun)
        else:
            slot, header = chosen
            yield SegmentFile(path, number, header, slot, size, begun=begun)


def _head(fs: FileSystem, fd: int) -> bytes:
    """The headers and what stands right behind them. Reads even where the size is 0: only that
    tells a FIFO or a folder."""
    try:
        head = fs.pread(fd, HEAD, 0)
    except OSError as error:
        raise Unreadable(f"{error.strerror} at 0") from error
    if len(head) < HEAD:  # a short file, or a short read
        head = bytes(Reader(fs, fd, HEAD).at(0, HEAD))
    return head


def _choose_segments(scan: Scan, files: list[SegmentFile], fs: FileSystem) -> list[SegmentFile]:
    """The log begins at its newest base, and ends before what was made ahead and never used:
    that is returned."""
    bases = [index for index, file in enumerate(files) if file.header and file.header.base]
    start = bases[-1] if bases else 0
    end = len(files)
    while end > start and _unused(scan, files[end - 1], fs):
        end -= 1
    scan.live, scan.leftover = files[start:end], files[:start]
    return files[end:]


def _unused(scan: Scan, file: SegmentFile, fs: FileSystem) -> bool:
    if file.unreadable or file.begun or (file.header and file.header.base):
        return False
    fd = fs.open(file.path, READ_FLAGS)
    try:
        reader = Reader(fs, fd, min(file.size, MAX_SEGMENT))
        reader.at(0, DATA_START)
        if reader.skip_zeros(DATA_START) < reader.limit:
            return False
    finally:
        fs.close(fd)
    if file.header is None:
        scan.dropped = reader.data_end
    whole = file.header.capacity if file.header else DATA_START
    scan.cut += max(0, whole - file.size)
    return True


# --- one segment -----------------------------------------------------------------------------


def _read_segment(
    scan: Scan,
    segment: SegmentFile,
    previous: SegmentFile | None,
    fs: FileSystem,
    codec: Codec,
    walk: Walk | None,
) -> None:
    assert segment.header is not None
    limit = min(segment.size, segment.header.capacity, MAX_SEGMENT)
    seed = salt_seed(segment.header.salt)
    fd = fs.open(segment.path, READ_FLAGS)
    try:
        reader = Reader(fs, fd, limit)
        _enter_segment(scan, segment, previous, codec, reader, seed)
        if scan.intact and (segment.header.base or scan.end > DATA_START):
            scan.resume = segment
        if walk is not None and scan.intact:
            walk(reader, limit, seed, scan)
            scan.link = scan.chain
        _read_frames(scan, segment.path, reader, codec, seed, walk)
    finally:
        fs.close(fd)
    scan.ends.append(scan.end)
    scan.lasts.append(scan.next - 1)
    scan.bytes_read += limit
    scan.tail = max(0, reader.data_end - scan.position)
    if not scan.intact:
        scan.dropped += max(0, reader.data_end - scan.end)
    elif segment is scan.live[-1]:
        scan.dropped += scan.tail
    if segment is scan.live[-1]:
        closed = scan.position > scan.end  # a clean-close mark stands behind the last record
        scan.cut += 0 if closed else max(0, segment.header.capacity - segment.size)


def _enter_segment(
    scan: Scan,
    segment: SegmentFile,
    previous: SegmentFile | None,
    codec: Codec,
    reader: Reader,
    seed: int,
) -> None:
    """Find where the records of the segment start, and how it follows the one before."""
    assert segment.header is not None
    start, header = DATA_START, segment.header
    if header.base:
        scan.first = scan.next = header.first_sequence
        scan.chain = scan.link = header.crc
    if header.linked:
        link = codec.frame_at(reader, DATA_START, seed, max(1, header.first_sequence), MAX_SEQUENCE)
        chain = decode_link(link) if isinstance(link, Frame) else None
        sequence = link.sequence if isinstance(link, Frame) and chain is not None else 0
        if not header.base:
            _check_place(scan, segment, previous, sequence, chain)
        if isinstance(link, Frame) and chain is not None:
            scan.promised = max(scan.promised, link.durable)
            scan.chain = link.crc if scan.intact else scan.chain
            scan.next, scan.link = sequence, link.crc
            start = link.end
    scan.position, scan.end, scan.why = start, start, ""


def _check_place(
    scan: Scan,
    segment: SegmentFile,
    previous: SegmentFile | None,
    sequence: int,
    chain: int | None,
) -> None:
    """``sequence`` and ``chain`` are what the link says; 0 and None when there is no link, which
    the frames behind it will judge."""
    path, last = segment.path, max(0, sequence - 1)
    if previous is None:
        scan.first = scan.next = max(1, sequence)
        scan.damage(Damage(str(path), 0, 0, "the segments before it are missing", 0, last))
    elif segment.number != previous.number + 1:
        missing = path.with_name(segment_name(previous.number + 1))
        first = scan.next if last else 0
        scan.damage(Damage(str(missing), 0, 0, "the segment is missing", first, last))
    elif chain is None or previous.header is None:
        return  # the header that is missing is damage already
    elif sequence > scan.next:
        scan.why = scan.why or "the segment ends early"
        scan.gap(previous.path, previous.size, last)
        scan.dropped += scan.tail
    elif sequence < scan.next or chain != scan.link:
        reason = "the segment does not continue the one before it"
        scan.damage(Damage(str(path), DATA_START, 0, reason, sequence))


def _check_unused(scan: Scan, unused: list[SegmentFile], previous: SegmentFile | None) -> None:
    """The next segment is made only when the one before it is in use."""
    expected = previous.number + 1 if previous else 1
    if unused and unused[0].number != expected:
        missing = unused[0].path.with_name(segment_name(expected))
        scan.damage(Damage(str(missing), 0, 0, "the segment is missing", scan.next))


def _drop_unread(scan: Scan) -> None:
    """The log goes on where delivering stopped. Segments behind that place hold nothing that was
    promised: they go when the log is opened for appending."""
    if scan.damages or scan.resume is None:
        return
    kept = scan.live.index(scan.resume) + 1
    scan.leftover += scan.live[kept:]
    del scan.live[kept:], scan.ends[kept:], scan.lasts[kept:]


def _read_frames(
    scan: Scan, path: Path, reader: Reader, codec: Codec, seed: int, walk: Walk | None
) -> None:
    if scan.position < reader.limit == reader.skip_zeros(scan.position):
        scan.why = scan.why or codec.nothing
        return
    while _read_run(scan, path, reader, codec, seed, walk is not None):
        assert walk is not None
        _pass_over(scan, reader, seed, walk)


def _pass_over(scan: Scan, reader: Reader, seed: int, walk: Walk) -> None:
    """Valid frames that are only counted. Nobody asks for their watermarks."""
    behind = Scan(None, next=scan.next, chain=scan.link, position=scan.position)
    walk(reader, reader.limit, seed, behind)
    scan.position, scan.next, scan.link = behind.position, behind.next, behind.chain
    scan.promised = max(scan.promised, behind.promised)
    scan.later += behind.records


def _read_run(scan: Scan, path: Path, reader: Reader, codec: Codec, seed: int, stops: bool) -> bool:
    """True, if it ``stops`` behind a frame because whatever follows it is only counted."""
    for found in _frames(codec, reader, seed, scan.position, scan.next):
        if isinstance(found, str):
            scan.why = scan.why or found
            continue
        durable = found.durable
        if durable > scan.promised:
            scan.promised = durable
        if found.payloads is None:
            scan.why = scan.why or "payload checksum"
            continue
        if found.offset != scan.position or found.sequence != scan.next:
            scan.gap(path, found.offset, found.sequence - 1)
        scan.position, scan.why = found.end, ""
        if found.kind == FOOTER:
            continue
        scan.next, scan.link = found.sequence + found.count, found.crc
        if scan.intact:
            scan.deliver(found, found.payloads)
            scan.end, scan.chain = found.end, found.crc
        else:
            scan.later += found.count
            if stops and scan.newest <= scan.promised:  # every gap is damage already
                return True
    return False


def _frames(
    codec: Codec, reader: Reader, seed: int, offset: int, low: int
) -> Iterator[Frame | str]:
    """Frames in order of offset; where none stands, the reason, and then the next one found."""
    while offset < reader.limit:
        found = codec.frame_at(reader, offset, seed, low, low + reader.limit)
        if isinstance(found, str):
            yield found
            later = _search(codec, reader, seed, offset, low)
            if later is None:
                return
            found = later
        yield found
        offset = found.end
        low = found.sequence + (0 if found.kind == FOOTER else found.count)


def _search(codec: Codec, reader: Reader, seed: int, offset: int, low: int) -> Frame | None:
    high = low + reader.limit
    for candidate in codec.candidates(reader, offset, low, high):
        found = codec.frame_at(reader, candidate, seed, low, high)
        if isinstance(found, Frame):
            return found
    return None
