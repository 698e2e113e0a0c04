"""The tables of ``bench verify``: levels and their evidence, failures, the prover's own test."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_cli.report import scale
from bench_cli.report.layout import INDENT, lay_out
from bench_cli.report.model import Column, Line, Styled, Table, Tone
from bench_cli.report.text import safe, wrap


@dataclass(frozen=True, slots=True)
class Verified:
    """One proof. ``level`` is the declared one, ``nothing``: the log keeps nothing to prove."""

    backend: str
    core: str
    format: str
    level: str
    holds: bool
    nothing: bool
    black_box: bool
    images: int
    errors: int
    damages: int
    kills: int
    calls: int
    crashes: int
    losses: int
    seed: int
    seconds: float

    @property
    def evidence(self) -> str:
        if self.nothing:
            return "nothing is kept, nothing to prove"
        counts = [(self.images, "images"), (self.kills, "kills"),
                  (self.calls, "kills at calls"),
                  (self.crashes, "ext4 crashes"), (self.losses, "power losses"),
                  (self.errors, "errors"),
                  (self.damages, "damages")]  # fmt: skip
        told = [f"{count:,} {what}" for count, what in counts if count]
        return ", ".join([*told, f"seed {self.seed}"])


@dataclass(frozen=True, slots=True)
class Kept:
    """A failure; ``file`` holds its image where it has one."""

    subject: str
    layer: str
    reason: str
    where: str
    file: Path | None
    code: bool = False  # the backend is module:Class


@dataclass(frozen=True, slots=True)
class Caught:
    """A seeded mistake (or, ``sound``, a log without one) and what was found, if anything."""

    name: str
    what: str
    sound: bool
    found: str | None

    @property
    def right(self) -> bool:
        return (self.found is None) == self.sound


@dataclass(frozen=True, slots=True)
class Rediscovered:
    """An engine of known behaviour, ``found`` in so many images; ``skipped``: why it was not
    looked at."""

    name: str
    known: str
    found: str
    images: int
    as_known: bool
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    subject: str
    reason: str
    where: str
    recovery: str
    records: Sequence[str]
    engine: Sequence[str] = ()  # what is on the log says of itself


NOTES = (
    "In the images, what a sync had promised was there after a crash of the system (D3 for a disk "
    "that honours flushes), and all that was written after a kill (D1).",
    "Not shown: whether this disk honours a flush; stores the processor had not yet told of; what "
    "a real kernel and file system add, where no ext4 crashes are counted.",
    "Zeros where the last records of a log stood, none after them, look like a log that ends "
    "there. Damage to the last durable record is reported as an ambiguous tail.",
)
BLACK_BOX = "Black box (its file work cannot be injected): no crash of the system was tried on "


def render(proofs: Sequence[Verified], kept: Sequence[Kept], columns: int) -> list[Styled]:
    heads = [Column("log", label=True), Column("core", label=True), Column("format", label=True),
             Column("level", label=True), Column("", label=True),
             Column("evidence", label=True), Column("took", 3)]  # fmt: skip
    lines = [
        Line(
            (safe(one.backend), one.core, one.format, safe(one.level),
             "-" if one.nothing else "holds" if one.holds else "FAILS",
             one.evidence, scale.duration(one.seconds)),
            tone=Tone.PLAIN if one.holds else Tone.BAD,
        )
        for one in proofs
    ]  # fmt: skip
    table = Table("What each log survives", heads, lines, notes=list(NOTES))
    foreign = sorted({safe(one.backend) for one in proofs if one.black_box and not one.nothing})
    if foreign:
        table.notes.append(BLACK_BOX + ", ".join(foreign) + ".")
    failed = sum(not one.holds for one in proofs)
    verdict = (
        Styled(f"{failed} of {len(proofs)} do not hold what they declare.", Tone.BAD)
        if failed
        else Styled("Every declared level holds.", Tone.GOOD)
    )
    told = [line for one in kept for line in _failure(one, columns)]
    return [*lay_out(table, columns), Styled(""), *told, *([Styled("")] if told else []), verdict]


def _failure(one: Kept, columns: int) -> list[Styled]:
    texts = [f"! {one.subject}, layer {one.layer}: {one.reason}", f"{INDENT}{one.where}"]
    if one.file is not None:
        allowed = " --allow-code" if one.code else ""
        texts.append(f"{INDENT}bench verify --replay {shlex.quote(str(one.file))}{allowed}")
    lines = [line for text in texts[:2] for line in wrap(safe(text), columns, INDENT)]
    return [Styled(text, Tone.BAD) for text in [*lines, *map(safe, texts[2:])]]


def render_self_test(found: Sequence[Caught], columns: int) -> list[Styled]:
    heads = [Column("mistake", label=True), Column("", label=True), Column("found", label=True)]
    lines = [
        Line(
            (one.name, ("sound" if one.sound else "caught") if one.right else "WRONG",
             safe(one.found or "nothing")),
            tone=Tone.PLAIN if one.right else Tone.BAD,
        )
        for one in found
    ]  # fmt: skip
    bugs = [one for one in found if not one.sound]
    caught, wrong = sum(one.right for one in bugs), any(not one.right for one in found)
    return [
        *lay_out(Table("The prover, proven", heads, lines), columns),
        Styled(""),
        Styled(f"{caught} of {len(bugs)} seeded mistakes are caught.",
               Tone.BAD if wrong else Tone.GOOD),
    ]  # fmt: skip


def render_peers(found: Sequence[Rediscovered], columns: int) -> list[Styled]:
    heads = [Column("peer", label=True), Column("known", label=True), Column("", label=True),
             Column("found", label=True), Column("images")]  # fmt: skip
    lines = [
        Line((one.name, one.known, "", "", ""), message=one.skipped, tone=Tone.DIM)
        if one.skipped
        else Line(
            (one.name, one.known, "as known" if one.as_known else "DIFFERS", safe(one.found),
             f"{one.images:,}"),
            tone=Tone.PLAIN if one.as_known else Tone.BAD,
        )
        for one in found
    ]  # fmt: skip
    looked = [one for one in found if not one.skipped]
    right = sum(one.as_known for one in looked)
    return [
        *lay_out(Table("Known behaviour, rediscovered", heads, lines), columns),
        Styled(""),
        Styled(f"{right} of {len(looked)} peers do what is known of them.",
               Tone.GOOD if right == len(looked) else Tone.BAD),
    ]  # fmt: skip


def render_replay(one: Replayed, columns: int) -> list[Styled]:
    told = ["the engine:", *(INDENT + line for line in one.engine)] if one.engine else []
    texts = [one.subject, f"failed with: {one.reason}", f"at: {one.where}", *told,
             f"the log: {one.recovery}"]  # fmt: skip
    lines = [line for text in texts for line in wrap(safe(text), columns, INDENT)]
    return [Styled(line) for line in [*lines, *map(safe, one.records)]]
