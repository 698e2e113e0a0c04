"""Does the warm-up go on? Until its level is steady, or a cap is reached.

The level is steady when the last window of the warm-up's batches is like the window before it:
their medians lie within 5 %, or the later median lies between the quartiles of the earlier window
(a row that scatters is not one that drifts). A window is one sample's batches, at first a third
of what there is, so that the cold start stays out of both. Each round that is not steady adds one
sample's batches.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench_cli.interfaces import Body
from bench_cli.runner.loop import WALL_CAP, Calibration, Now, take_sample
from bench_cli.stats.quantile import quantile

TOLERANCE = 0.05
MOST_ROUNDS = 5
"""Further samples of warm-up at most: beyond, a noisy machine would cost more than it gives."""
UNSTEADY = (
    f"the warm-up did not settle: its last batches still differed by more than {TOLERANCE:.0%} "
    "from those before"
)


def drift(run_ns: Sequence[float], window: int) -> float | None:
    """By what fraction the last ``window`` batches (at most a third of all) are slower (faster:
    negative) than those before; 0.0 where that is within what batches scatter. None for fewer
    than two batches: nothing to tell."""
    if len(run_ns) < 2:
        return None
    size = max(1, min(window, len(run_ns) // 3))
    before, last = run_ns[-2 * size : -size], quantile(run_ns[-size:], 0.5)
    middle = quantile(before, 0.5)
    change = last / middle - 1 if middle else 0.0
    if abs(change) <= TOLERANCE or _scatters_around(before, last):
        return 0.0
    return change


def _scatters_around(values: Sequence[float], level: float) -> bool:
    if len(values) < 4:
        return False
    return quantile(values, 0.25) <= level <= quantile(values, 0.75)


def settle(body: Body, begun: Calibration, min_sample_ns: int, now: Now) -> float | None:
    """Warm up until steady. Returns the drift that was left at the cap, None when it settled or
    cannot be told: a body that sets its own batches prepares once for all of them, so they are
    unlike each other by design, and one whose batch alone reaches the cap gets no second."""
    if body.info.batches:
        return None
    run_ns = [*begun.run_ns]
    began = now()
    for _ in range(MOST_ROUNDS):
        left = drift(run_ns, begun.batches)
        spent = max(now() - began, sum(begun.run_ns))
        if left == 0.0 or spent > WALL_CAP * min_sample_ns:
            break
        run_ns += take_sample(body, begun.batches, begun.overhead_ns, now).run_ns
    return drift(run_ns, begun.batches) or None
