"""Layer E for an engine on a log: every bit and every length of its snapshots, a full one and one
that adds to it, each of them gone or in the place of another, and here and there in its log. What
is recovered must be what was done; less of it must be told, and so must a damaged snapshot that
would have been used."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from bench_cli.errors import BenchError
from bench_cli.faults.crashes import Tally
from bench_cli.faults.damage import single_bits, truncations
from bench_cli.faults.explore import Broken, Life
from bench_cli.faults.images import Content
from bench_cli.interfaces import Recovery

LOG_STEP = 61  # one bit and one length in so many of the log, whose own proof tries all
SNAPSHOT = "snapshot"  # in the names of snapshot files


def check(life: Life, tally: Tally, where: str, step: int = 1) -> int:
    """How many damages were tried, of a life that ended with everything promised. ``step``: one
    bit in so many of the snapshots."""
    whole = life.disk.contents()
    try:
        steps, recovery = life.probe(whole)
    except Exception as error:  # whatever a recovery raises here, it must not
        told = f"undamaged: {type(error).__name__}: {error}"
        tally.fail("E", told, where, whole, life.setting())
        return 0
    used = {one.path.rpartition("/")[2] for one in recovery.snapshots.chain}
    tried = 0
    for what, content in _damages(whole, step):
        if tally.enough:
            break
        tried += 1
        reason = _silent(life, content, steps, used)
        if reason:
            tally.fail("E", f"{what}: {reason}", where, content, life.setting())
    return tried


def _damages(whole: Content, step: int) -> Iterator[tuple[str, Content]]:
    snapshots = [name for name in whole if SNAPSHOT in name]
    for name in snapshots:
        for what, data in _of_snapshot(whole[name], step):
            yield f"{name}: {what}", whole | {name: data}
        yield f"{name} is gone", {other: whole[other] for other in whole if other != name}
    for name, other in permutations(snapshots, 2):
        yield f"{name} is {other}", whole | {name: whole[other]}
    for name, data in whole.items():
        if name not in snapshots:
            one = {name: data}
            for what, content, _ in single_bits(one, LOG_STEP):
                yield what, whole | content
            for what, content, _ in truncations(one, LOG_STEP):
                yield what, whole | content


def _of_snapshot(data: bytes, step: int) -> Iterator[tuple[str, bytes]]:
    """All of it counts, zeros at its end too: it says how long it is."""
    for bit in range(0, 8 * len(data), step):
        at = bit // 8
        yield f"bit {bit}", data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]
    for length in range(0, len(data), step):
        yield f"cut to {length}", data[:length]
    for more in (b"\0", b"\1" * 512):
        yield f"{len(more)} bytes longer", data + more


def _silent(life: Life, content: Content, steps: int, used: set[str]) -> str | None:
    try:
        found, recovery = life.probe(content)
    except BenchError:
        return None  # refused is told
    except Broken as broken:
        return str(broken)
    except Exception as error:  # anything else is not a typed result
        return f"recovery raised {type(error).__name__}: {error}"
    if _told(recovery):
        return None
    if found < steps:
        return f"{steps - found} steps are missing in silence"
    whole = life.disk.contents()
    spoilt = [name for name in used if name in content and content[name] != whole[name]]
    return f"nothing is told of {spoilt[0]}" if spoilt else None


def _told(recovery: Recovery) -> bool:
    return bool(recovery.damages or recovery.snapshots.rejected or recovery.ambiguous_tail_bytes)
