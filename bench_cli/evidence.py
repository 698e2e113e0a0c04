"""What ``bench verify`` has shown of the sources as they are now: ``results/verified.json``.

``{"version": 2, "proofs": {key: {"code": digest, "date": ..., "settings": [...], ...}}}``; the key
names engine, log, twin and format. A proof speaks for a row only while the digest of the sources
it was made with is that of the sources now, and only if it covered the row's settings.

Schema history, one line per version:
  1  one digest for all proofs
  2  a digest, a date and the settings covered for each
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import bench_cli
from bench_cli.flushing import parse_flush
from bench_cli.interfaces import Durability
from bench_cli.strict_json import JsonProblem, parse

VERSION = 2
VERIFIED = "verified.json"
MAX_BYTES = 4 << 20
VERIFIED_WORD, FAILED_WORD = "verified", "FAILED"

_ROOMS = {"wal": ("wal",), "rewards": ("wal", "rewards"), "cache": ("wal", "cache")}
_SHARED = ("payloads.py", "filesystem.py", "interfaces", "faults")
_SOURCES = (".py", ".pyx", ".pxi", ".pxd", ".h")


@cache
def code_digest(engine: str) -> str:
    """Of the sources that an engine's bytes and recovery depend on, and of the proof itself."""
    package = Path(bench_cli.__file__).parent
    digest = hashlib.sha256()
    for name in (*_SHARED, *_ROOMS.get(engine, ())):
        place = package / name
        for path in sorted(place.iterdir()) if place.is_dir() else [place]:
            if path.suffix in _SOURCES:
                digest.update(f"{name}/{path.name}".encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def key_of(backend: str, log: str | None, core: str, form: str) -> str:
    """``rewards.pool+wal.mmap/native/binary``; without ``log`` the backend is the log."""
    return f"{backend}+{log}/{core}/{form}" if log else f"{backend}/{core}/{form}"


def settings_of(params: Mapping[str, Any], *, synced: bool = False) -> frozenset[str]:
    """What a proof must have covered to speak for a row: when the log is synced (``never``,
    ``record``, ``every``), the kind of its flush policy if it has one (``flush-group``) and, of a
    queue, what it waits for before it answers."""
    every = 1 if synced else int(params.get("flush_every", 0))
    found = {("never", "record")[every] if every < 2 else "every"}
    if (policy := str(params.get("flush", "never"))) != "never":
        found.add(f"flush-{parse_flush(policy).kind}")
    if "ack" in params:
        found.add(f"ack-{params['ack']}")
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Proofs by key. Empty: everything is declared."""

    proofs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def mark(self, level: Durability, key: str, wanted: frozenset[str]) -> Durability:
        """``level`` with what is known of it. D0 promises nothing, so nothing is shown of it."""
        proof = self.proofs.get(key)
        engine = key.partition(".")[0]
        if level.level == "D0" or proof is None or proof.get("code") != code_digest(engine):
            return level
        date = str(proof.get("date", ""))[:10]
        if proof.get("holds") is not True:
            return replace(level, evidence=FAILED_WORD, date=date, counts=_first_failure(proof))
        if proof.get("nothing") or not wanted <= set(proof.get("settings", ())):
            return level
        return replace(level, evidence=VERIFIED_WORD, date=date, counts=counts_of(proof))


def _first_failure(proof: Mapping[str, Any]) -> str:
    failures = proof.get("failures") or [{}]
    return f"{failures[0].get('reason', 'no reason kept')} (layer {failures[0].get('layer', '?')})"


def counts_of(proof: Mapping[str, Any]) -> str:
    """``100,000 images, 1,000 kills, seed 42``."""
    named = [
        ("images", "images"),
        ("kills", "kills"),
        ("calls", "kills at calls"),
        ("crashes", "ext4 crashes"),
        ("losses", "power losses"),
        ("errors", "errors"),
    ]
    told = [f"{int(proof[name]):,} {word}" for name, word in named if proof.get(name)]
    damages = int(proof.get("flips", 0)) + int(proof.get("damages", 0))
    told += [f"{damages:,} damages"] if damages else []
    return ", ".join([*told, f"seed {proof.get('seed')}"])


def load(results: Path) -> Evidence:
    """What is stored there. A file that is missing, or none of ours, is no evidence."""
    path = results / VERIFIED
    try:
        if path.stat().st_size > MAX_BYTES:
            return Evidence()
        found = parse(path.read_text(encoding="utf-8"))
        proofs = found["proofs"] if found["version"] == VERSION else {}
        if not all(_is_proof(one) for one in proofs.values()):
            return Evidence()
    except (OSError, ValueError, JsonProblem, KeyError, TypeError, AttributeError):
        return Evidence()
    return Evidence(proofs)


def _is_proof(one: Any) -> bool:
    """The fields that ``mark`` reads, of their types."""
    return (
        isinstance(one, dict)
        and isinstance(one.get("settings"), list)
        and isinstance(one.get("failures"), list)
        and all(isinstance(failure, dict) for failure in one["failures"])
        and all(isinstance(one.get(name, 0), int) for name in _COUNTED)
    )


_COUNTED = ("images", "kills", "calls", "crashes", "losses", "errors", "flips", "damages")
