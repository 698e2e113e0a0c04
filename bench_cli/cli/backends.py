"""``bench backends``: who can be benchmarked, and what each says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench_cli.evidence import Evidence
    from bench_cli.interfaces import Backend
    from bench_cli.registry import BackendEntry
    from bench_cli.report.planned import Entry


@click.command("backends")
def command() -> None:
    """List backends: cores, durability, capabilities.

    Durability is what a backend declares at its default settings, and whether `bench verify` has
    shown it of the sources as they are. A core that is not built says why.

    \b
    bench backends
    """
    from bench_cli import evidence, places, registry
    from bench_cli.report import console
    from bench_cli.report.model import Tone
    from bench_cli.report.planned import listing

    known = registry.backends()
    proven = evidence.load(places.results_dir())
    entries = [_entry(known[name], proven) for name in sorted(known)]
    headings = ("name", "cores", "survives", "can", "from")
    console.emit(listing("Backends", headings, entries, console.columns()))
    missing = registry.native_missing()
    if missing:
        console.say(["", f"! core native: {missing}", f"  {registry.NATIVE_REMEDY}"], Tone.WARN)


def _entry(entry: BackendEntry, proven: Evidence) -> Entry:
    from bench_cli import registry
    from bench_cli.errors import BenchError
    from bench_cli.report.planned import Entry

    native = "native" in entry.cores and not registry.native_missing()
    cores = ", ".join(
        core if core == "python" or native else f"{core} (not built)" for core in entry.cores
    )
    try:
        backend = registry.resolve(entry.name, "native" if native else "python")
        can = ", ".join(sorted(str(capability) for capability in backend.capabilities))
        level = _level(backend, proven)
    except BenchError as error:
        return Entry((entry.name, cores, "", "", entry.origin), error.message, missing=True)
    except Exception as error:  # someone else's package: its fault is a line of the list
        told = f"cannot be used: {type(error).__name__}: {error}"
        return Entry((entry.name, cores, "", "", entry.origin), told, missing=True)
    return Entry((entry.name, cores, level, can, entry.origin), entry.summary)


def _level(backend: Backend, proven: Evidence) -> str:
    """``D1 I1 C2, verified 2026-01-02: 100,000 images, ...``, of the binary format."""
    from bench_cli.evidence import key_of, settings_of

    key = key_of(backend.name, None, backend.core, "binary")
    level = proven.mark(backend.durability({}), key, settings_of({}))
    date = f" {level.date}" if level.date else ""
    counts = f": {level.counts}" if level.counts else ""
    return f"{level.label()}, {level.evidence}{date}{counts}"
