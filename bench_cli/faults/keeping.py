"""What remains of a proof: its record in ``results/verified.json``, and the images that failed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_cli
from bench_cli import registry
from bench_cli.errors import ResultFileError
from bench_cli.faults.crashes import Reading
from bench_cli.faults.prove import Proof
from bench_cli.interfaces import LogBackend, LogOptions
from bench_cli.registry import is_code
from bench_cli.report.verification import Kept, Replayed, Verified

VERSION = 1
VERIFIED = "verified.json"
"""``{"version": 1, "code": digest, "date": ..., "proofs": {"backend/core/format": proof}}``; a
proof of other code is dropped when the next one is stored."""


def code_digest() -> str:
    """Of the sources a log's bytes and recovery depend on: a proof holds for these alone."""
    package = Path(bench_cli.__file__).parent
    digest = hashlib.sha256()
    sources = [
        path
        for room in ("wal", "faults")
        for path in sorted((package / room).iterdir())
        if path.suffix in (".py", ".pyx", ".pxi", ".pxd", ".h")
    ]
    for path in [package / "payloads.py", package / "filesystem.py", *sources]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def as_dict(proof: Proof) -> dict[str, Any]:
    made = {name: value for name, value in asdict(proof).items() if name != "failures"}
    made["holds"] = proof.holds
    made["failures"] = [
        {"layer": one.layer, "reason": one.reason, "where": one.where} for one in proof.failures
    ]
    return made


def to_json(proofs: Sequence[Proof]) -> str:
    found = {
        "version": VERSION,
        "code": code_digest(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "proofs": {_key(proof): as_dict(proof) for proof in proofs},
    }
    return json.dumps(found, indent=1, ensure_ascii=True) + "\n"


def _key(proof: Proof) -> str:
    return f"{proof.backend}/{proof.core}/{proof.format}"


def store(proofs: Sequence[Proof], results: Path) -> None:
    """Merge into what is stored of the same code, atomically. The code of a foreign log is not
    under the digest, so nothing is stored of it."""
    path = results / VERIFIED
    made = json.loads(to_json([proof for proof in proofs if not is_code(proof.backend)]))
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    if isinstance(before, dict) and before.get("code") == made["code"]:
        earlier = before.get("proofs")
        if isinstance(earlier, dict):
            made["proofs"] = earlier | made["proofs"]
    results.mkdir(parents=True, exist_ok=True)
    _write_durably(path, json.dumps(made, indent=1) + "\n")


def _write_durably(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def shown(proof: Proof) -> Verified:
    return Verified(
        backend=proof.backend,
        core=proof.core,
        format=proof.format,
        level=proof.declared,
        holds=proof.holds,
        nothing=proof.nothing,
        black_box=proof.black_box,
        images=proof.images,
        errors=proof.errors,
        damages=proof.flips + proof.damages,
        kills=proof.kills,
        seed=proof.seed,
        seconds=proof.seconds,
    )


# --- images that failed ----------------------------------------------------------------------


def keep(proof: Proof, scratch: Path) -> list[Kept]:
    """Each failure, its image in a file of its own where there is one."""
    kept = []
    for number, failure in enumerate(proof.failures, 1):
        file = None
        if failure.image is not None:
            stem = f"failed-{proof.backend}-{proof.core}-{proof.format}-{proof.seed}-{number}"
            file = scratch / f"{stem.replace(':', '-').replace('/', '-')}.json"
            image = {name: base64.b64encode(data).decode() for name, data in failure.image.items()}
            made = {"version": VERSION, "backend": proof.backend, "core": proof.core,
                    "format": proof.format, "reason": failure.reason, "where": failure.where,
                    "image": image}  # fmt: skip
            file.write_text(json.dumps(made), encoding="utf-8")
        subject = f"{proof.backend} {proof.core} {proof.format}"
        kept.append(
            Kept(
                subject, failure.layer, failure.reason, failure.where, file, is_code(proof.backend)
            )
        )
    return kept


def replay(path: Path, allow_code: bool) -> Replayed:
    """Recover a kept image again. Raises ResultFileError for a file that is none."""
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
        image = {
            os.path.basename(name): base64.b64decode(data, validate=True)
            for name, data in made["image"].items()
        }
        texts = [str(made[name]) for name in ("backend", "core", "format", "reason", "where")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultFileError(
            f"{path} is not a kept image: {error}",
            remedy="`bench verify` names the files it keeps",
        ) from error
    name, core, form, reason, where = texts
    backend: LogBackend = registry.resolve(name, core, allow_code=allow_code)  # type: ignore[assignment]  # wal.* by its engine
    found, records = Reading(backend, LogOptions(form)).recover(image)
    return Replayed(f"{name} {core} {form}", reason, where, str(found),
                    [f"{at} kind {kind}: {data!r:.60}" for at, kind, data in records])  # fmt: skip
