"""Is a real slowdown found? Sessions of a CPU-bound log against a copy of it that burns 5 or 10 %
more, on this machine as it is: other processes belong to the test.

``python -m tests.real.detect --sessions 20``
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from tests.real.sessions import session

COPIES = {"+5 %": "FivePercent", "+10 %": "TenPercent", "the same": "Plain"}
SCENARIO = """\
scenarios:
  - name: burning
    workload: wal.append
    params: {record: 64B, backend: wal.none}
"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="its number, and so its seed")
    parser.add_argument("--copy", choices=list(COPIES), action="append")
    parser.add_argument("--folder", type=Path, default=Path("_tmp/detect"))
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    scenario = wanted.folder / "burning.yaml"
    scenario.write_text(SCENARIO, encoding="utf-8")
    for name in wanted.copy or list(COPIES):
        words = ["--base", "backend:tests.real.burning:Plain", "--allow-code", str(scenario),
                 "--head", f"backend:tests.real.burning:{COPIES[name]}"]  # fmt: skip
        verdicts: Counter[str] = Counter()
        for number in range(wanted.first, wanted.first + wanted.sessions):
            found = session([*words, "--seed", str(number)], wanted.folder / "session.json")
            timing = found.rows[0]["timing"]  # its exact counts differ too, and prove nothing here
            verdicts[timing["verdict"]] += 1
            sys.stdout.write(
                f"{name} {number}: {timing['verdict']} {timing['estimate']:+.1%} in "
                f"{timing['pairs']} pairs, detectable {timing['detectable']:.1%}, "
                f"{found.seconds:.0f} s\n"
            )
            sys.stdout.flush()
        sys.stdout.write(f"{name}: {dict(verdicts)} of {wanted.sessions}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
