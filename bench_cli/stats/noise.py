"""How far identical code differs from itself: the floor under every comparison."""

from __future__ import annotations

import math

from bench_cli.stats.verdict import Judgement


def floor(judgement: Judgement) -> float | None:
    """Half the 95 % interval of a comparison of something with itself, as a fraction; None where
    there were too few pairs for one."""
    if judgement.low is None or judgement.high is None:
        return None
    return math.expm1((math.log1p(judgement.high) - math.log1p(judgement.low)) / 2)
