"""Does the sanitizer find anything at all? Each fault of planted.c runs in a process of its own
and must be found; what is no fault must not be."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from pathlib import Path

from tests.sanitize.toolchain import (
    HERE,
    Sanitizer,
    at_fixed_addresses,
    compile_shared,
    environment,
)

# what is planted, and the words that name it in a report; None where nothing may be found
PLANTED: dict[str, dict[str, str | None]] = {
    "memory": {
        "none": None,
        "one_byte_too_far": "heap-buffer-overflow",
        "end_of_a_block": "heap-buffer-overflow",
        "use_after_free": "heap-use-after-free",
        "use_after_give": "use-after-poison",
        "signed_overflow": "signed integer overflow",
        "shift_too_far": "shift exponent",
        "misaligned": "misaligned address",
    },
    "threads": {
        "none": None,
        "count": None,
        "count_at_once": "data race",
        "copy": None,
        "copy_at_once": "data race",
    },
}


def check(kind: str, sanitizer: Sanitizer, tree: Path, scratch: Path) -> list[str]:
    """What was wrong; empty when every fault was found, and nothing else."""
    library = scratch / "planted.so"
    compile_shared(HERE / "planted.c", library, sanitizer)
    wrong = []
    for fault, words in PLANTED[kind].items():
        reports = scratch / f"planted-{fault}"
        found = run(fault, library, sanitizer, tree, reports)
        if words is None and found:
            wrong.append(f"{fault} is no fault, but was reported:\n{found}")
        elif words is not None and words not in found:
            wrong.append(f"{fault} was not found: no {words!r} in\n{found or 'no report at all'}")
    return wrong


def run(fault: str, library: Path, sanitizer: Sanitizer, tree: Path, reports: Path) -> str:
    """What was reported of one fault, what the process said included."""
    command = [sys.executable, "-m", "tests.sanitize.planted", str(library), fault]
    done = subprocess.run(
        [*at_fixed_addresses(sanitizer), *command],
        cwd=tree,
        env=environment(sanitizer, tree, reports),
        capture_output=True,
        text=True,
        check=False,
    )
    written = [path.read_text() for path in sorted(reports.parent.glob(f"{reports.name}.*"))]
    return "".join([*written, done.stdout, done.stderr])


def main(library: str, fault: str) -> None:
    # ctypes gives the interpreter lock up for a CDLL, and keeps it for a PyDLL
    kind = ctypes.CDLL if fault.endswith("_at_once") else ctypes.PyDLL
    function = kind(library)[fault]
    if fault not in PLANTED["threads"]:
        function()
        return
    threads = [threading.Thread(target=function) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
