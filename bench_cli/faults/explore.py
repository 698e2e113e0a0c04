"""Crashes of an engine that stands on a log: its recovery is tried on the same images as the
log's own. What was done is counted in steps (draws, cache operations); a recovery tells how many
of them it found, and raises ``Broken`` when what it found is not just that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from bench_cli.faults.crashes import Tally
from bench_cli.faults.images import Content, DiskState
from bench_cli.faults.recorder import Recorder
from bench_cli.interfaces import Recovery

AGAIN = 150  # one image in so many is lived on in
AGAIN_IMAGES = 40


class Broken(Exception):
    """What a recovery found is not what was done."""


class Bound(NamedTuple):
    """Steps ``promised`` (by a sync), ``written`` (the call returned), ``attempted`` (it began)."""

    promised: int = 0
    written: int = 0
    attempted: int = 0


@dataclass(slots=True)
class Bounds:
    """Bounds by the number of operations of the disk that were done."""

    marks: list[tuple[int, Bound]] = field(default_factory=lambda: [(0, Bound())])

    @property
    def now(self) -> Bound:
        return self.marks[-1][1]

    def mark(self, at: int, **changed: int) -> None:
        """``changed``: fields of the bound; the others stay as they are now."""
        self.marks.append((at, self.now._replace(**changed)))

    def along(self, moments: int) -> Iterator[Bound]:
        """The bound at each moment 0..``moments``."""
        following = iter([*self.marks[1:], (moments + 1, self.now)])
        bound, (next_at, next_bound) = self.marks[0][1], next(following)
        for moment in range(moments + 1):
            while next_at <= moment:
                bound, (next_at, next_bound) = next_bound, next(following)
            yield bound


class Life(Protocol):
    """What an engine did on a recorded disk."""

    bounds: Bounds

    @property
    def disk(self) -> Recorder: ...
    def setting(self) -> dict[str, Any]:
        """What a recovery has to be told besides the image."""

    def recover(self, image: Content | None) -> int:
        """How many steps an image holds. Raises Broken, or whatever a recovery must not."""

    def probe(self, image: Content) -> tuple[int, Recovery]:
        """The same of files that were damaged, and all that the recovery told. Raises BenchError
        too, where it refuses."""

    def again(self, image: Content | None, found: int) -> Life:
        """Recovered from the image and gone on with, on a disk recorded anew."""


@dataclass(slots=True)
class Doing:
    """What the lives of all engines keep. ``making``: how the engine is made. ``recorded`` None:
    the disk is a real one. ``forgiving``: a snapshot may fail, and the engine then goes on."""

    making: Any
    recorded: Recorder | None = field(default_factory=Recorder)
    bounds: Bounds = field(default_factory=Bounds)
    forgiving: bool = False

    @property
    def disk(self) -> Recorder:
        assert self.recorded is not None
        return self.recorded

    def setting(self) -> dict[str, Any]:
        found: dict[str, Any] = self.making.setting()
        return found

    def mark(self, **changed: int) -> None:
        self.bounds.mark(0 if self.recorded is None else len(self.recorded.ops), **changed)


def explore(
    life: Life,
    tally: Tally,
    where: str,
    seed: int,
    most: int,
    again: int = AGAIN,
    moments: range | None = None,
) -> None:
    """Up to ``most`` images, spread over all moments of the recording, or over these. ``again`` 0:
    none of them is lived on in."""
    state = DiskState(life.disk, seed)
    found: dict[int, int] = {}
    ops, left = life.disk.ops, most
    asked = range(len(ops) + 1)[moments.start : moments.stop] if moments else range(len(ops) + 1)
    for moment, bound in zip(range(asked.stop), life.bounds.along(len(ops)), strict=False):
        if moment in asked:
            at, before = f"{where} operation={moment}", tally.images
            quota = max(1, left // (asked.stop - moment))
            _judge(life, state.newest(), bound.written, bound, found, tally, at, again)
            for image in state.images(quota):
                _judge(life, image, bound.promised, bound, found, tally, at, again)
                if tally.enough:
                    return
            left -= tally.images - before
        if moment < len(ops):
            state.do(ops[moment])


def _judge(
    life: Life,
    image: Content | None,
    least: int,
    bound: Bound,
    found: dict[int, int],
    tally: Tally,
    where: str,
    again: int,
) -> None:
    key = hash(None if image is None else tuple(image.items()))
    if key not in found:
        tally.images += 1
        steps = _recovered(life, image, tally, where)
        if steps is None:
            return
        found[key] = steps
        if again and tally.images % again == 0:
            tally.lives += 1
            _live_on(life, image, steps, tally, where)
    if found[key] < least:
        told = f"{found[key]} steps were recovered; {least} must be"
        tally.fail("A", told, where, image, life.setting())
    elif found[key] > bound.attempted:
        told = f"{found[key]} steps were recovered; {bound.attempted} had begun"
        tally.fail("A", told, where, image, life.setting())


def _recovered(life: Life, image: Content | None, tally: Tally, where: str) -> int | None:
    try:
        return life.recover(image)
    except Broken as broken:
        tally.fail("A", str(broken), where, image, life.setting())
    except Exception as error:  # whatever a recovery raises here, it must not
        told = f"recovery raised {type(error).__name__}: {error}"
        tally.fail("A", told, where, image, life.setting())
    return None


def _live_on(life: Life, image: Content | None, steps: int, tally: Tally, where: str) -> None:
    """The crashes of a recovery, and of what is done after it."""
    try:
        second = life.again(image, steps)
    except Exception as error:  # as above
        told = f"going on raised {type(error).__name__}: {error}"
        tally.fail("A", told, where, image, life.setting())
        return
    inner = Tally(stop_at=1)
    explore(second, inner, f"{where} again", 1, AGAIN_IMAGES, again=0)
    tally.images += inner.images
    for failure in inner.failures:
        told = f"after a recovery: {failure.reason}"
        tally.fail("A", told, where, image, life.setting())
