"""Does an open loop tell of stalls what those who wait would? 1,000 operations a second on a log
that stalls once a second, in real time: the response must show it, the service must not.

``python -m tests.real.stalls --sessions 5``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench_cli import results

SCENARIO = """\
scenarios:
  - name: stalling
    workload: wal.append
    params: {record: 64B, backend: "tests.real.stalling:Stalling"}
    plan: {rate: 1000/s, processes: 1}
"""
RUN = (sys.executable, "-m", "bench_cli", "run", "--allow-code")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("_tmp/stalls"))
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    scenario, output = wanted.folder / "stalling.yaml", wanted.folder / "stalling.json"
    scenario.write_text(SCENARIO, encoding="utf-8")
    for number in range(wanted.sessions):
        subprocess.run([*RUN, scenario, "-o", output], check=True, stdout=subprocess.DEVNULL)
        told = results.read(output).results[0].latency
        shown = ", ".join(
            f"{kind} p50 {told[kind]['p50'] / 1e6:.3f} p99 {told[kind]['p99'] / 1e6:.3f} "
            f"max {told[kind]['max'] / 1e6:.1f} ms"
            for kind in ("response", "service")
        )
        sys.stdout.write(f"{number}: {told['achieved_per_s']:.0f}/s, {shown}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
