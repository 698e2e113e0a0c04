"""The two sides of an A/B comparison, from the words that name them.

``backend:NAME`` and ``set:KEY=VALUE`` change the scenario and run in this tool. ``python:EXE``,
``path:DIR`` and ``git:REV`` are other tools that run the same scenario: an interpreter with the
package installed, a checkout, a revision built aside. ``here`` is this tool and the scenario as
it stands.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from bench_cli.cells import Cell
from bench_cli.errors import UsageError
from bench_cli.runner.processes import HERE, Program
from bench_cli.units import shorten

KINDS = ("here", "backend", "set", "python", "path", "git")
PROBE_S = 60
BUILD_S = 1800
_TAIL = 6  # lines of a failed build that are shown
_CHATTER = ("note:", "hint:", "×", "╰─>", "[end of output]", "error: metadata-generation-failed")
_PROBE = """
import dataclasses, importlib.metadata, importlib.util, json, platform, sys
from bench_cli import registry
from bench_cli.runner.worker import Job
packages = {}
for name in %r:
    try:
        packages[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps({
    "python": platform.python_version(),
    "packages": packages,
    "native_missing": registry.native_missing(),
    "fields": [field.name for field in dataclasses.fields(Job)],
    "starts": importlib.util.find_spec(%r) is not None,
    "forks": importlib.util.find_spec("bench_cli.runner.server") is not None,
    "workloads": {
        name: [parameter.name for parameter in workload.parameters]
        for name, workload in registry.workloads().items()
    },
}))
"""
_FORMER_MODULE = "bench_cli.runner.worker"
_PACKAGES = ("bench-cli", "numpy", "google-crc32c", "Cython")


class SubjectError(UsageError):
    """A side that cannot be run: nothing was measured."""

    slug = "subject"


@dataclass(frozen=True, slots=True)
class Spec:
    """``text`` as given; ``key`` is the parameter it sets (``backend`` or one of ``set:``)."""

    text: str
    kind: str
    value: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """A side ready to run. ``environment``: what differs from this tool's own. ``native_missing``:
    why its compiled twins cannot run, None where they can. ``workloads``: the parameters of each
    that it knows; None: this tool's own."""

    spec: Spec
    program: Program = HERE
    environment: Mapping[str, Any] = field(default_factory=dict)
    native_missing: str | None = None
    workloads: Mapping[str, Sequence[str]] | None = None

    def skipped(self, cell: Cell, defaults: Mapping[str, Any]) -> str | None:
        """Why this side cannot run a cell of a newer scenario file. A parameter it does not know
        is harmless at its default: without it the tool does just that."""
        if self.workloads is None:
            return None
        if cell.workload not in self.workloads:
            return f"{self.spec.text} has no workload {cell.workload}"
        known = self.workloads[cell.workload]
        unknown = [name for name, value in cell.params.items()
                   if name not in known and value != defaults.get(name)]  # fmt: skip
        if not unknown:
            return None
        return f"{self.spec.text} does not know: {', '.join(unknown)}"


def read_spec(text: str) -> Spec:
    """Raises SubjectError."""
    kind, colon, value = text.partition(":")
    if kind == "here" and not colon:
        return Spec(text, kind, "")
    if kind not in KINDS or kind == "here" or not value:
        raise SubjectError(
            f"{shorten(text)} names nothing to compare",
            remedy="backend:NAME, set:KEY=VALUE, python:EXE, path:DIR, git:REV, or here",
        )
    if kind == "backend":
        return Spec(text, kind, value, "backend")
    if kind == "set":
        key, equals, wanted = value.partition("=")
        if not equals or not key.strip() or not wanted.strip():
            raise SubjectError(f"{shorten(text)} is not set:KEY=VALUE")
        return Spec(text, kind, value, key.strip())
    return Spec(text, kind, value)


def prepare(spec: Spec, *, cache: Path, root: Path, say: Callable[[str], None]) -> Subject:
    """Find or build what ``spec`` names. ``cache`` keeps revisions that were built; ``root`` is
    the project whose revisions are meant. ``say`` is told what takes long. Raises SubjectError."""
    match spec.kind:
        case "python":
            return _probed(spec, Program(_interpreter(spec), _empty(cache), alone=True))
        case "path":
            return _probed(spec, Program(folder=_checkout(spec)))
        case "git":
            executable = revision(spec, cache=cache, root=root, say=say)
            found = _probed(spec, Program(str(executable), _empty(cache), alone=True))
            commit = (executable.parents[2] / "built").read_text(encoding="utf-8").strip()
            return replace(found, environment={**found.environment, "commit": commit})
        case _:
            return Subject(spec)


def _interpreter(spec: Spec) -> str:
    found = shutil.which(spec.value)
    if found is None:
        raise SubjectError(f"{shorten(spec.text)}: there is no such interpreter",
                           remedy="give the path of a Python that has this package")  # fmt: skip
    # Not resolved: the interpreter of a virtual environment is a link, and the link is the point.
    return str(Path(found).absolute())


def _checkout(spec: Spec) -> Path:
    folder = Path(spec.value).resolve()
    if not (folder / "bench_cli" / "__init__.py").is_file():
        raise SubjectError(f"{shorten(spec.text)}: no bench_cli/ in {folder}",
                           remedy="name the folder of a checkout")  # fmt: skip
    return folder


def _empty(cache: Path) -> Path:
    """A working directory with nothing to import in it."""
    place = cache / "empty"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _probed(spec: Spec, program: Program) -> Subject:
    """Ask the other tool what it is: a broken one is one error, not a failed row each."""
    try:
        done = subprocess.run(
            [program.executable, "-c", _PROBE % (_PACKAGES, HERE.module)],
            capture_output=True, text=True, timeout=PROBE_S, check=False,
            cwd=program.folder, env=program.environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SubjectError(f"{shorten(spec.text)} does not start: {error}") from error
    if done.returncode:
        raise SubjectError(
            f"{shorten(spec.text)} cannot run benchmarks: {_last(done.stderr, 1)}",
            remedy="install this package there (pip install PATH), or build it (make install)",
        )
    found = json.loads(done.stdout)
    program = replace(
        program,
        fields=frozenset(found["fields"]),
        module=HERE.module if found["starts"] else _FORMER_MODULE,
        forks=HERE.forks and found["forks"],
    )
    return Subject(
        spec,
        program,
        {"python": found["python"], "packages": found["packages"]},
        found["native_missing"],
        found["workloads"],
    )


# --- revisions -------------------------------------------------------------------------------


def revision(spec: Spec, *, cache: Path, root: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of an environment that holds that revision: built once per revision and
    version of Python, then found again. Raises SubjectError."""
    commit = _commit(spec, root)
    place = cache / f"{commit[:16]}-py{sys.version_info.major}{sys.version_info.minor}"
    executable, built = place / "venv" / "bin" / "python", place / "built"
    if built.is_file() and executable.exists():
        return executable
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    say(f"building {spec.text} ({commit[:12]}) aside, once")
    _export(spec, commit, root, place)
    _install(spec, place)
    built.write_text(commit + "\n", encoding="utf-8")
    return executable


def _commit(spec: Spec, root: Path) -> str:
    words = [
        "git",
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{spec.value}^{{commit}}",
    ]
    done = _run(words, root, spec)
    if done.returncode:
        raise SubjectError(
            f"{shorten(spec.text)}: no such revision in {root}",
            remedy="`git fetch` it first (a shallow clone has only its newest commit)",
        )
    return done.stdout.strip()


def _export(spec: Spec, commit: str, root: Path, place: Path) -> None:
    archive, source = place / "source.tar", place / "source"
    source.mkdir()
    for words in (
        ["git", "archive", "--format=tar", f"--output={archive.absolute()}", commit],
        ["tar", "-xf", str(archive.absolute()), "-C", str(source.absolute())],
    ):
        _must(_run(words, root, spec), spec, "cannot be checked out")
    archive.unlink()


def _install(spec: Spec, place: Path) -> None:
    """The revision itself, then what this tool already has: both sides run with the same numpy,
    and only what is missing here is downloaded."""
    venv, source = (place / "venv").absolute(), str((place / "source").absolute())
    _must(_run([sys.executable, "-m", "venv", str(venv)], place, spec), spec, "has no venv")
    start = [str(venv / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    pip = [*start, "install"]
    if _can_build(place / "source"):
        _run([*start, "uninstall", "--yes", "setuptools"], place, spec)  # would hide ours
        _share_packages(venv)
        _must(_run([*pip, "--no-build-isolation", source], place, spec), spec, "does not build")
        return
    # pip's own build tools would be hidden by older ones of ours, so these come after the build
    _must(_run([*pip, "--no-deps", source], place, spec), spec, "does not build")
    _share_packages(venv)
    _must(_run([*pip, "bench-cli"], place, spec), spec, "lacks a dependency")


def _share_packages(venv: Path) -> None:
    """Let the environment find this tool's packages after its own."""
    library = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    ours = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (library / "shared.pth").write_text("\n".join(ours) + "\n", encoding="utf-8")


def _can_build(source: Path) -> bool:
    """Whether the build tools here are what the revision asks for; otherwise pip fetches them."""
    try:
        asked = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
        wanted = asked["build-system"]["requires"]
        return all(_is_here(str(requirement)) for requirement in wanted)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_here(requirement: str) -> bool:
    """Understands ``name`` and ``name>=1.2``; anything else counts as not here."""
    found = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\s*>=\s*([0-9.]+))?", requirement.strip())
    if found is None:
        return False
    try:
        here = metadata.version(found[1])
    except metadata.PackageNotFoundError:
        return False
    return _numbers(here) >= _numbers(found[2] or "0")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def _run(words: Sequence[str], folder: Path, spec: Spec) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=BUILD_S, check=False,
            env=Program(alone=True).environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SubjectError(f"{shorten(spec.text)}: {words[0]}: {error}") from error


def _must(done: subprocess.CompletedProcess[str], spec: Spec, what: str) -> None:
    if done.returncode:
        raise SubjectError(
            f"{shorten(spec.text)} {what}:\n{_last(done.stderr or done.stdout, _TAIL)}"
        )


def _last(text: str, lines: int) -> str:
    """The end of what a program said, without what pip says after every failure."""
    said = [line.rstrip() for line in text.splitlines() if line.strip()]
    told = [line for line in said if not line.lstrip().startswith(_CHATTER)]
    return "\n".join(told[-lines:]) or "it said nothing"
