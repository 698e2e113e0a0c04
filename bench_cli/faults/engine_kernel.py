"""Layer B for a pool or a cache on a log: a real ext4 that is shut down under it (opt-in; root).

Runs as ``kernel.py`` does. The writer is that of ``engine_power.py``, and so is the judge: only
what was promised before the ioctl began must be there.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench_cli.faults import kernel
from bench_cli.faults.engine_kills import EngineKilling
from bench_cli.faults.engine_power import OfAnEngine
from bench_cli.faults.kills import Eras, Kept, Killing, Lived, lives_of_one_log
from bench_cli.faults.power import Unforeseen

CRASHERS = "bench_cli.faults.engine_kernel"  # by this name it is run


def command(killing: Killing) -> list[str]:
    """What runs this module in a mount namespace of its own."""
    return kernel.command(killing, CRASHERS)


def run(killing: EngineKilling) -> Kept:
    """``kills`` of what is returned counts the crashes."""
    scratch, draw = Path(killing.scratch), random.Random(killing.seed)
    disk, kept, work = kernel.Disk(scratch), Kept(), OfAnEngine(killing, scratch)

    def live(life: int, eras: Eras, last: int) -> Lived:
        try:
            writer = work.writer(kept.kills, life, last)
        except Unforeseen as error:
            return last, str(error), last
        with disk.mount() as place:
            told = partial(writer, place / "log")
            promised = kernel.crash(told, work.acknowledgements, disk, draw)
        with disk.mount() as place:
            wrong = work.judge(place / "log", max(promised, last))
        work.live_on()
        return promised, *wrong

    while kept.kills < killing.count and not kept.failures:
        disk.clear()
        work.begin()
        lives_of_one_log(killing, kept, "crash", live)
    return kept


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(EngineKilling(**json.loads(sys.argv[1]))))) + "\n")
