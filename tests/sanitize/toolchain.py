"""The compiler's sanitizers: whether it has them, and how a process runs under them."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


class MissingSanitizer(Exception):
    """This machine cannot build or run what was asked for; the message says why."""


@dataclass(frozen=True)
class Sanitizer:
    """``flags`` is the value of ``BENCH_SANITIZE``; ``options`` go to the run-time libraries."""

    title: str
    flags: str
    libraries: tuple[str, ...]
    options: Mapping[str, str]
    fixed_addresses: bool = False


SANITIZERS = {
    "memory": Sanitizer(
        "AddressSanitizer and UndefinedBehaviorSanitizer",
        "address,undefined",
        # libstdc++ is there before numpy brings it: what intercepts its throw looks once, at start
        ("libasan.so", "libubsan.so", "libstdc++.so"),
        {
            # the interpreter leaves memory to the system when it ends: every report would be its
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        },
    ),
    "threads": Sanitizer(
        "ThreadSanitizer",
        "thread",
        ("libtsan.so",),
        {
            # The interpreter is not instrumented, but its locks are mutexes, conditions and
            # semaphores of the system, which the sanitizer follows: what it copies and frees under
            # them is ordered, and needs no suppression. ignore_noninstrumented_modules would hide
            # the copies of our own modules too.
            "TSAN_OPTIONS": "die_after_fork=0:history_size=4",
        },
        fixed_addresses=True,
    ),
}


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def library(name: str) -> Path:
    """Where the compiler keeps a run-time library."""
    command = [*compiler(), f"-print-file-name={name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingSanitizer(f"{shlex.join(compiler())} does not run: {error}") from error
    found = Path(done.stdout.strip())
    if not found.is_absolute() or not found.exists():
        raise MissingSanitizer(
            f"{shlex.join(compiler())} has no {name}; a gcc with its sanitizer libraries is needed "
            "(Debian: libgcc-12-dev, Fedora: libasan libubsan libtsan), or CC names another one"
        )
    return found.resolve()


def compile_shared(source: Path, target: Path, sanitizer: Sanitizer) -> None:
    """A shared library of ``source`` with the flags that setup.py gives the modules."""
    flags = [f"-fsanitize={sanitizer.flags}", "-fno-sanitize-recover=all", "-O1", "-g1", "-pthread"]
    headers = [sysconfig.get_paths()["include"], str(HERE.parent.parent / "bench_cli" / "cache")]
    flags += [f"-I{room}" for room in headers]
    command = [*compiler(), "-shared", "-fPIC", *flags, str(source), "-o"]
    done = subprocess.run([*command, str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingSanitizer(f"{shlex.join(command)} fails:\n{done.stderr}")


def environment(sanitizer: Sanitizer, tree: Path, reports: Path) -> dict[str, str]:
    """Findings become files ``reports``.PID, or go to standard error."""
    options = {name: f"{text}:log_path={reports}" for name, text in sanitizer.options.items()}
    return os.environ | {
        "LD_PRELOAD": " ".join(str(library(name)) for name in sanitizer.libraries),
        "PYTHONMALLOC": "malloc",  # so that Python's own objects have guarded ends
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        **options,
    }


def at_fixed_addresses(sanitizer: Sanitizer) -> list[str]:
    """What starts a command without address randomization: ThreadSanitizer's shadow has a fixed
    place, which a kernel that randomizes widely may have taken."""
    prefix = ["setarch", platform.machine(), "-R"]
    if not sanitizer.fixed_addresses or not shutil.which(prefix[0]):
        return []
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if works else []
