"""What a result was made on: machine, kernel, Python, packages, revision.

Nothing here identifies a person or a host: results are meant to be committed. Whatever the
system does not tell is None.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

FINGERPRINT = (
    "cpu_model", "cpus", "kernel", "virtualisation", "filesystem", "python", "gil", "core",
    "packages",
)  # fmt: skip
"""Fields that must agree before two timings are worth comparing."""

_PACKAGES = ("bench-cli", "numpy", "google-crc32c", "Cython")


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _cpu_model() -> str | None:
    """The "model name" line of x86; elsewhere what ``platform`` knows."""
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or None


def _virtualisation() -> str | None:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("flags") and " hypervisor" in line:
            return _read("/sys/class/dmi/id/sys_vendor") or "hypervisor"
    return None


def _steal_share() -> float | None:
    """Share of all CPU time since boot that the host gave to others."""
    import psutil

    times = psutil.cpu_times()
    total = sum(times)
    return round(times.steal / total, 5) if hasattr(times, "steal") and total else None


def filesystem_of(place: Path) -> tuple[str, str] | None:
    """(type, device) of the mount that holds ``place``; the deepest mount point wins."""
    target = str(place.resolve())
    best: tuple[int, str, str] | None = None
    for line in (_read("/proc/self/mounts") or "").splitlines():
        device, point, kind = line.split(" ")[:3]
        point = point.encode().decode("unicode_escape")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= best[0]):
            best = (len(point), kind, device)
    return best[1:] if best else None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(*words: str) -> str | None:
    """What git says about the tool's own checkout; None outside one."""
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).resolve().parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _gil() -> bool:
    enabled = getattr(sys, "_is_gil_enabled", None)
    return bool(enabled()) if enabled else True


def record(scratch: Path, core: str) -> dict[str, Any]:
    """The environment of a run whose scratch folder is ``scratch``."""
    import psutil

    mount = filesystem_of(scratch)
    dirty = _git("status", "--porcelain")
    return {
        "cpu_model": _cpu_model(),
        "cpus": os.cpu_count(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtualisation": _virtualisation(),
        "steal_share": _steal_share(),
        "load_1min": round(os.getloadavg()[0], 2),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_available_bytes": psutil.virtual_memory().available,
        "huge_pages": _read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "system": platform.system(),
        "kernel": platform.release(),
        "filesystem": mount[0] if mount else None,
        "device": mount[1] if mount else None,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "optimised_python": sysconfig.get_config_var("CONFIG_ARGS") is not None
        and "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")),
        "gil": _gil(),
        "packages": _versions(),
        "core": core,
        "revision": _git("rev-parse", "HEAD"),
        "dirty": bool(dirty) if dirty is not None else None,
    }


def differences(base: dict[str, Any], head: dict[str, Any]) -> list[str]:
    """Fingerprint fields that do not agree, as ``field: base -> head``."""
    return [
        f"{name}: {base.get(name)} -> {head.get(name)}"
        for name in FINGERPRINT
        if base.get(name) != head.get(name)
    ]
