"""``bench verify``: what a log survives, proven by recorded crashes, errors, damage and kills."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench_cli.cli.counting import counting
from bench_cli.errors import ExitCode

if TYPE_CHECKING:
    from bench_cli.faults.prove import Effort, Proof, Subject
    from bench_cli.report.verification import Caught


@click.command("verify")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME",
    help="Prove this log, pool or cache only; repeatable. By default all that are built in.",
)
@click.option("--core", type=click.Choice(["native", "python"]), help="By default both twins.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["binary", "text", "jsonl"]),
    help="By default all.",
)
@click.option(
    "--images",
    type=click.IntRange(1),
    metavar="N",
    help="Distinct crash images of each flush policy of a log and of each engine on one [2,000; of "
    "a compiled log in the binary format 100,000].",
)
@click.option(
    "--kills",
    type=click.IntRange(0),
    metavar="N",
    help="SIGKILLs at random moments of each log's writer [200], and of each engine's on one [48]; "
    "0 leaves out those at each system call too.",
)
@click.option(
    "--thorough",
    is_flag=True,
    help="1,000,000 images of each policy, 100,000 of each engine on a log, 10,000 kills of each "
    "and 48 lives that are killed at each system call.",
)
@click.option(
    "--real-kernel",
    is_flag=True,
    help="Also shut a real ext4 down under each log's writer, 300 times, and recover it from 300 "
    "disks that a loss of power may leave; 100 of both for a pool or a cache on one (root; a mount "
    "namespace of its own).",
)
@click.option(
    "--seed",
    type=int,
    default=42,
    show_default=True,
    help="Chooses what is recorded and which images are built.",
)
@click.option(
    "--self-test",
    is_flag=True,
    help="Instead, prove the prover: logs with seeded mistakes, all to be caught.",
)
@click.option(
    "--peers",
    is_flag=True,
    help="Instead, rediscover what SQLite and an unsynced file are known to lose.",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Instead, recover one kept image again and say what is found.",
)
@click.option(
    "--allow-code",
    is_flag=True,
    help="Allow backends given as module:Class, which runs their code.",
)
@click.option(
    "--json", "json_to", metavar="FILE", help="Also write the result as JSON; - is stdout."
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Prove so many at a time, each in a process of its own [one per core; with "
    "--real-kernel 1].",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Leave out what an earlier run of the same sources, effort and seed has proven.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    backends: Sequence[str],
    core: str | None,
    formats: Sequence[str],
    images: int | None,
    kills: int | None,
    thorough: bool,
    real_kernel: bool,
    seed: int,
    self_test: bool,
    peers: bool,
    replay: Path | None,
    allow_code: bool,
    json_to: str | None,
    jobs: int | None,
    resume: bool,
    quiet: bool,
) -> int:
    """Prove what a log survives, and a pool or a cache on it.

    Records everything it asks of its disk, builds the disks a crash may leave at each moment, and
    recovers each of them; fails every call; flips every bit; kills real writers, at random moments
    and at each system call. Pools and caches are proven the same way, on each log. Ends with exit
    code 20 when a declared level does not hold; what failed is kept with the command that replays
    it. Each result is kept in results/verified.json as soon as it is there; after an interruption
    --resume proves the rest.

    \b
    bench verify
    bench verify --backend wal.mmap --core native --format binary --images 100000
    bench verify --self-test
    bench verify --peers
    """
    if replay is not None:
        return _replay(replay, allow_code)
    if self_test:
        return _self_test(quiet)
    if peers:
        return _peers(images or _PEER_IMAGES, seed, quiet)
    subjects = _subjects(backends, core, formats, allow_code)
    effort = _with_calls(_effort(images, kills, seed, thorough))
    if real_kernel:
        effort = _with_kernel(effort, thorough)
    if resume and not (subjects := _not_shown(subjects, effort)):
        return ExitCode.OK
    at_a_time = jobs or (1 if real_kernel else len(os.sched_getaffinity(0)))
    proofs: list[Proof] = []
    try:
        _prove(subjects, effort, at_a_time, quiet, proofs)
    except KeyboardInterrupt:
        _report_partly(proofs, len(subjects), json_to)
        raise
    return _report(proofs, json_to)


def _effort(images: int | None, kills: int | None, seed: int, thorough: bool) -> Effort:
    from dataclasses import replace

    from bench_cli.faults.prove import THOROUGH, Effort

    effort = replace(THOROUGH if thorough else Effort(), seed=seed)
    if images is not None:
        effort = replace(effort, images=images, native_images=images, engine_images=images)
    return effort if kills is None else replace(effort, kills=kills, engine_kills=kills)


def _with_calls(effort: Effort) -> Effort:
    """With kills at each system call, or a word on why there are none."""
    from dataclasses import replace

    from bench_cli.faults import prove, tracing
    from bench_cli.report import console
    from bench_cli.report.model import Tone

    if not effort.kills:
        return replace(effort, calls=0)
    if reason := tracing.why_not():
        told = f"! no writer is killed at each of its system calls: {reason}"
        console.say([told], Tone.WARN, sys.stderr)
        return replace(effort, calls=0)
    return replace(effort, calls=effort.calls or prove.CALLS)


def _with_kernel(effort: Effort, thorough: bool) -> Effort:
    """With crashes of a real file system and losses of power, or a word on why there are none."""
    from dataclasses import replace

    from bench_cli.faults import kernel, power
    from bench_cli.report import console
    from bench_cli.report.model import Tone

    if reason := kernel.why_not():
        console.say([f"! no real kernel is crashed: {reason}"], Tone.WARN, sys.stderr)
        return effort
    count = 10_000 if thorough else 300
    of_engine = 1_000 if thorough else 100
    effort = replace(effort, crashes=count, engine_crashes=of_engine)
    if reason := power.why_not():
        console.say([f"! no disk loses its power: {reason}"], Tone.WARN, sys.stderr)
        return effort
    return replace(effort, losses=count, engine_losses=of_engine)


def _subjects(
    backends: Sequence[str], core: str | None, formats: Sequence[str], allow_code: bool
) -> list[Subject]:
    """Each under each of its twins and formats. What was named and cannot be resolved is an
    error; a twin that was not asked for and is not built is left out."""
    from bench_cli import registry

    known = registry.backends()
    engines = ("wal", "rewards", "cache")
    names = [name for engine in engines for name in sorted(known) if known[name].engine == engine]
    chosen: list[Subject] = []
    for name in backends or names:
        twins = registry.cores_of(name)
        for twin in [core] if core else twins:
            if core or twin != "native" or not registry.native_missing():
                chosen += _of_twin(name, twin, formats, allow_code, foreign="native" not in twins)
    return chosen


def _of_twin(
    name: str, twin: str | None, formats: Sequence[str], allow_code: bool, *, foreign: bool
) -> list[Subject]:
    """A log by itself, an engine on each built-in log that work can be recorded of."""
    from bench_cli import registry
    from bench_cli.errors import UsageError
    from bench_cli.faults.engines import engine_of
    from bench_cli.faults.prove import Subject
    from bench_cli.interfaces import Capability

    if not registry.is_code(name) and registry.entry_of(name).engine == "synthetic":
        raise UsageError(f"{name} keeps nothing", remedy="`bench backends` lists what does")
    core = None if foreign else twin
    backend = registry.resolve(name, twin, allow_code=allow_code)
    logs = [None] if engine_of(backend) == "wal" else _RECORDED
    chosen = []
    for log in logs:
        under = registry.resolve(log, twin) if log else backend
        other = [kind for kind in ("text", "jsonl") if Capability(kind) in under.capabilities]
        wanted = [kind for kind in ("binary", *other) if not formats or kind in formats]
        chosen += [Subject(name, core, kind, allow_code, log) for kind in wanted]
    return chosen


_RECORDED = ("wal.basic", "wal.mmap")


def _not_shown(subjects: Sequence[Subject], effort: Effort) -> list[Subject]:
    """Those without a stored proof of these sources and this effort."""
    from bench_cli import places
    from bench_cli.faults import keeping
    from bench_cli.report import console

    results = places.results_dir()
    left = [one for one in subjects if not keeping.is_shown(one.key, effort, results)]
    if len(left) < len(subjects):
        console.say(
            [f"{len(subjects) - len(left)} of {len(subjects)} are proven already: {results}"],
            stream=sys.stderr,
        )
    return left


def _prove(
    subjects: Sequence[Subject], effort: Effort, jobs: int, quiet: bool, proofs: list[Proof]
) -> None:
    """``proofs`` gets each as soon as it is there, when it is also stored; in the end they are in
    the order of ``subjects``."""
    from bench_cli import places
    from bench_cli.faults import keeping
    from bench_cli.faults.prove import work_of
    from bench_cli.faults.workers import prove_all

    scratch = places.scratch_dir()
    scratch.mkdir(parents=True, exist_ok=True)

    def ended(proof: Proof) -> None:
        proofs.append(proof)
        keeping.store([proof], places.results_dir())

    total = sum(work_of(subject, effort) for subject in subjects)
    with counting(total, quiet=quiet) as advance:
        prove_all(subjects, effort, scratch, jobs, advance, ended)
    keys = [subject.key for subject in subjects]
    proofs.sort(key=lambda proof: keys.index(proof.key))


def _report_partly(proofs: Sequence[Proof], wanted: int, json_to: str | None) -> None:
    from bench_cli.report import console
    from bench_cli.report.model import Tone

    if proofs:
        _report(proofs, json_to)
    left = f"! {wanted - len(proofs)} of {wanted} are not proven: `--resume` goes on with them"
    console.say([left], Tone.WARN, sys.stderr)


def _report(proofs: Sequence[Proof], json_to: str | None) -> int:
    from bench_cli import places
    from bench_cli.faults import keeping
    from bench_cli.report import console, verification

    kept = [keeping.keep(proof, places.scratch_dir()) for proof in proofs if proof.failures]
    if json_to == "-":
        sys.stdout.write(keeping.to_json(proofs))
    else:
        if json_to:
            Path(json_to).write_text(keeping.to_json(proofs), encoding="utf-8")
        lines = [keeping.shown(proof) for proof in proofs]
        console.emit(verification.render(lines, [one for many in kept for one in many],
                                         console.columns()))  # fmt: skip
    return ExitCode.OK if all(proof.holds for proof in proofs) else ExitCode.RUN_FAILED


def _self_test(quiet: bool) -> int:
    from bench_cli.faults.selftest import ALL, ALL_SOUND, caught
    from bench_cli.report import console, verification

    lines: list[Caught] = []
    with counting(len(ALL) + len(ALL_SOUND), quiet=quiet) as advance:
        for bug in (*ALL_SOUND, *ALL):
            failure = caught(bug)
            told = f"layer {failure.layer}: {failure.reason}" if failure else None
            lines.append(verification.Caught(bug.name, bug.what, bug in ALL_SOUND, told))
            advance(1)
    console.emit(verification.render_self_test(lines, console.columns()))
    return ExitCode.OK if all(line.right for line in lines) else ExitCode.RUN_FAILED


_PEER_IMAGES = 1000


def _peers(images: int, seed: int, quiet: bool) -> int:
    import tempfile

    from bench_cli import places
    from bench_cli.faults.peers import PEERS, rediscover, sentence
    from bench_cli.report import console, verification

    scratch = places.scratch_dir()
    scratch.mkdir(parents=True, exist_ok=True)
    lines: list[verification.Rediscovered] = []
    with counting(len(PEERS), quiet=quiet) as advance:
        for peer in PEERS:
            with tempfile.TemporaryDirectory(prefix="peers-", dir=scratch) as place:
                found = rediscover(peer, images, seed, Path(place))
            lines.append(
                verification.Rediscovered(peer.name, peer.told, sentence(found), found.images,
                                          found.as_known, found.skipped)
            )  # fmt: skip
            advance(1)
    console.emit(verification.render_peers(lines, console.columns()))
    right = all(line.as_known or line.skipped for line in lines)
    return ExitCode.OK if right else ExitCode.RUN_FAILED


def _replay(path: Path, allow_code: bool) -> int:
    from bench_cli.faults import keeping
    from bench_cli.report import console, verification

    console.emit(verification.render_replay(keeping.replay(path, allow_code), console.columns()))
    return ExitCode.OK
