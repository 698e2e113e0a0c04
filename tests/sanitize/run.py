"""The compiled twins under the compiler's sanitizers: ``make sanitize``, ``make sanitize-threads``.

``python -m tests.sanitize.run memory|threads [pytest arguments]`` builds the modules aside, sees
that planted faults are found, runs the tests of the engines, and fails on any finding. What the
exit code says: 0 nothing found, 1 a finding or a failed test, 2 no sanitizers here.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.sanitize import planted
from tests.sanitize.toolchain import (
    SANITIZERS,
    MissingSanitizer,
    Sanitizer,
    at_fixed_addresses,
    environment,
    library,
)
from tests.sanitize.tree import ROOT, build, is_built, refresh

ROOMS = {
    "memory": (
        "contract",
        "wal",
        "rewards",
        "cache",
        "faults",
        "verify",
        "runner/test_counters.py",
    ),
    # where threads meet: in all others a twin is used by one at a time
    "threads": (
        "cache/test_cache_threads.py",
        "cache/test_stores.py",
        "contract/test_committed.py",
        "contract/test_committed_failures.py",
        "contract/test_draw_queue.py",
        "faults/test_cache_faults.py",
        "faults/test_commit_faults.py",
        "rewards/test_native_hostile.py",
        "rewards/test_snapshots.py",
        "wal/test_ahead.py",
        "wal/test_commit_rows.py",
        "wal/test_native_hostile.py",
        "wal/test_native_threads.py",
        "wal/test_relay.py",
        "wal/test_workers.py",
    ),
}
# The Python twins are no native code. What a test of both twins compares is run.
TESTS = "native or not python"
# What cannot hold in a process that keeps a shadow of its memory
DESELECTED = {
    "memory": [
        # freed memory is kept for a while, so that its use is found
        "test_a_cache_that_is_dropped_unclosed_gives_its_memory_back",
        "test_resident_memory_goes_back_to_the_pool_after_eviction",
        "test_pages_of_small_files_go_back_to_the_system_with_a_trim",
        # whole blocks come from the allocator, untouched
        "test_writing_into_pooled_and_existing_blocks_faults_no_page",
    ],
}
REPORT_LINES = 60
FINDING = re.compile(r"(ERROR|WARNING): \w+Sanitizer|runtime error: ")


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def prepare(kind: str, sanitizer: Sanitizer, tree: Path, scratch: Path) -> list[str]:
    """Everything before the tests; what is wrong with the sanitizer, if anything."""
    for name in sanitizer.libraries:
        library(name)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if refresh(tree) or not is_built(tree):
        say(f"building the modules in {tree.relative_to(ROOT)}")
        build(tree, sanitizer.flags)
    return planted.check(kind, sanitizer, tree, scratch)


def run_tests(kind: str, sanitizer: Sanitizer, tree: Path, reports: Path, more: list[str]) -> int:
    expression = " and not ".join([f"({TESTS})", *DESELECTED.get(kind, [])])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2"]
    # pytest must leave standard error alone: one sanitizer beside another reports only there
    command += ["--capture=sys", "-k", expression, *more]
    command += [f"tests/{room}" for room in ROOMS[kind]]
    with reports.with_name(f"{reports.name}.stderr").open("w") as errors:
        return subprocess.run(
            [*at_fixed_addresses(sanitizer), *command],
            cwd=tree,
            env=environment(sanitizer, tree, reports),
            stderr=errors,
            check=False,
        ).returncode


def findings(reports: Path) -> list[str]:
    """What the sanitizers wrote, a text per process or of several."""
    texts = [path.read_text() for path in sorted(reports.parent.glob(f"{reports.name}.*"))]
    return [text for text in texts if FINDING.search(text)]


def shortened(text: str) -> str:
    lines = text.splitlines()
    rest = len(lines) - REPORT_LINES
    return "\n".join([*lines[:REPORT_LINES], *([f"... {rest} more lines"] if rest > 0 else [])])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=SANITIZERS)
    arguments, more = parser.parse_known_args()
    sanitizer, began = SANITIZERS[arguments.kind], time.monotonic()
    tree = ROOT / "_tmp" / "sanitize" / arguments.kind
    scratch = tree.with_name(f"{arguments.kind}-reports")
    try:
        blind = prepare(arguments.kind, sanitizer, tree, scratch)
    except MissingSanitizer as missing:
        say(f"no {sanitizer.title}: {missing}")
        return 2
    if blind:
        say("\n".join(["the sanitizer does not work here:", *blind]))
        return 2
    say(f"{sanitizer.title}: {len(planted.PLANTED[arguments.kind])} planted cases as expected")
    failed = run_tests(arguments.kind, sanitizer, tree, scratch / "found", more)
    found = findings(scratch / "found")
    say("\n\n".join(shortened(text) for text in found))
    verdict = f"{len(found)} reports with findings" if found else "no finding"
    say(f"{sanitizer.title}: {verdict}, {time.monotonic() - began:.0f} s")
    return 1 if failed or found else 0


if __name__ == "__main__":
    sys.exit(main())
