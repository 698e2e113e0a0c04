"""Layer E for an engine on a log: every bit and every length of its snapshots, and here and there
in its log. What is recovered must be what was done; less of it must be told, and so must a damaged
snapshot that would have been used."""

from __future__ import annotations

from collections.abc import Iterator

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
    for name, data in whole.items():
        one = {name: data}
        bits, lengths = (step, step) if SNAPSHOT in name else (LOG_STEP, LOG_STEP)
        for what, content, _ in single_bits(one, bits):
            yield what, whole | content
        for what, content, _ in truncations(one, lengths):
            yield what, whole | content


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
    spoilt = [n for n in used if content[n] != life.disk.contents()[n]]
    return f"nothing is told of {spoilt[0]}" if spoilt else None


def _told(recovery: Recovery) -> bool:
    return bool(recovery.damages or recovery.snapshots.rejected or recovery.ambiguous_tail_bytes)
