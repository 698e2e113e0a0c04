"""What remains of a proof: its record in ``results/verified.json``, and the images that failed."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_cli import evidence, registry
from bench_cli.errors import ResultFileError
from bench_cli.faults import engines
from bench_cli.faults.crashes import Reading
from bench_cli.faults.prove import Effort, Proof
from bench_cli.interfaces import LogBackend, LogOptions
from bench_cli.registry import is_code
from bench_cli.report.verification import Kept, Replayed, Verified

VERSION = 2
"""Of a kept image. 1: for the log alone; 2: with the engine on it and what that is told."""


def as_dict(proof: Proof) -> dict[str, Any]:
    made = {name: value for name, value in asdict(proof).items() if name != "failures"}
    made["code"] = evidence.code_digest(proof.backend.partition(".")[0])
    made["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    made["holds"] = proof.holds
    made["failures"] = [
        {"layer": one.layer, "reason": one.reason, "where": one.where} for one in proof.failures
    ]
    return made


def to_json(proofs: Sequence[Proof]) -> str:
    return _text({proof.key: as_dict(proof) for proof in proofs})


def _text(proofs: Mapping[str, Any]) -> str:
    found = {"version": evidence.VERSION, "proofs": proofs}
    return json.dumps(found, indent=1, ensure_ascii=True) + "\n"


def store(proofs: Sequence[Proof], results: Path) -> None:
    """Merge into what is stored, atomically. The code of a foreign log is not under the digest,
    so nothing is stored of it."""
    kept = dict(evidence.load(results).proofs)
    for proof in proofs:
        made = as_dict(proof)
        if _is_ours(proof.backend) and _replaces(made, kept.get(proof.key)):
            kept[proof.key] = made
    results.mkdir(parents=True, exist_ok=True)
    _write_durably(results / evidence.VERIFIED, _text(kept))


def is_shown(key: str, effort: Effort, results: Path) -> bool:
    """Whether a proof of these sources with the same effort is stored, and holds."""
    proof = evidence.load(results).proofs.get(key, {})
    return (
        proof.get("holds") is True
        and proof.get("code") == evidence.code_digest(key.partition(".")[0])
        and proof.get("effort") == json.loads(json.dumps(asdict(effort)))
    )


def _is_ours(backend: str) -> bool:
    return not is_code(backend) and registry.entry_of(backend).origin == "built in"


def _replaces(made: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> bool:
    """Of the same sources a failure stays until the same seed passes, and more images are more."""
    if earlier is None or earlier.get("code") != made["code"] or not made["holds"]:
        return True
    if not earlier.get("holds") and earlier.get("seed") != made["seed"]:
        return False
    return bool(made["images"] >= int(earlier.get("images", 0)))


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


def _name(proof: Proof) -> str:
    return f"{proof.backend} on {proof.log}" if proof.log else proof.backend


def shown(proof: Proof) -> Verified:
    return Verified(
        backend=_name(proof),
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
        calls=proof.calls,
        crashes=proof.crashes,
        losses=proof.losses,
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
            stem = f"failed-{proof.key}-{proof.seed}-{number}"
            file = scratch / f"{stem.replace(':', '-').replace('/', '-')}.json"
            image = {name: base64.b64encode(data).decode() for name, data in failure.image.items()}
            made = {"version": VERSION, "backend": proof.log or proof.backend, "core": proof.core,
                    "format": proof.format, "reason": failure.reason, "where": failure.where,
                    "engine": proof.backend if proof.log else None,
                    "setting": failure.setting, "image": image}  # fmt: skip
            file.write_text(json.dumps(made), encoding="utf-8")
        subject = f"{_name(proof)} {proof.core} {proof.format}"
        kept.append(
            Kept(
                subject, failure.layer, failure.reason, failure.where, file, is_code(proof.backend)
            )
        )
    return kept


def replay(path: Path, allow_code: bool) -> Replayed:
    """Recover a kept image again: the log, and the engine on it where there was one. Raises
    ResultFileError for a file that is none."""
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
        image = {
            os.path.basename(name): base64.b64decode(data, validate=True)
            for name, data in made["image"].items()
        }
        texts = [str(made[name]) for name in ("backend", "core", "format", "reason", "where")]
        engine, setting = made.get("engine"), engines.setting_from(made.get("setting") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultFileError(
            f"{path} is not a kept image: {error}",
            remedy="`bench verify` names the files it keeps",
        ) from error
    name, core, form, reason, where = texts
    backend: LogBackend = registry.resolve(name, core, allow_code=allow_code)  # type: ignore[assignment]  # wal.* by its engine
    found, records = Reading(backend, LogOptions(form)).recover(image)
    said: list[str] = []
    if engine is not None:
        on_it = registry.resolve(str(engine), core, allow_code=allow_code)
        said = engines.sayings(on_it, backend, form, setting, image)
    subject = f"{engine} on {name} {core} {form}" if engine else f"{name} {core} {form}"
    return Replayed(subject, reason, where, str(found),
                    [f"{at} kind {kind}: {data!r:.60}" for at, kind, data in records],
                    said)  # fmt: skip
