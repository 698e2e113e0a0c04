"""Scenario files as text: YAML read into a small located tree, and nothing else.

Only the parser's events are used, so no object is ever constructed from a tag, and nesting,
aliases and size are bounded while the text is read, before anything grows. Every value keeps
its line, and scalars stay text: what ``512B`` or ``on`` means is decided by whoever knows which
parameter it belongs to, not by YAML 1.1's guesses.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench_cli.units import shorten

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_VALUES = 20_000
"""Values of one file with its aliases written out; the largest shipped file has a few hundred."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOOLEANS = frozenset({"on", "off", "yes", "no", "true", "false"})
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_LAYOUT = "\n\t"


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file, printed as ``file:line``; line 0 is the file as a whole."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake and where it stands."""

    spot: Spot
    text: str

    def __str__(self) -> str:
        return f"{self.spot}: {self.text}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One word or number, as written."""

    text: str
    quoted: bool
    spot: Spot

    @property
    def null(self) -> bool:
        return not self.quoted and self.text in _NULLS

    @property
    def boolean(self) -> bool:
        """Whether YAML 1.1 readers take the word for true or false."""
        return not self.quoted and self.text.lower() in _BOOLEANS


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Tree, ...]
    spot: Spot


@dataclass(frozen=True, slots=True)
class Keys:
    """A mapping; ``places`` says where each key stands."""

    entries: dict[str, Tree]
    places: dict[str, Spot]
    spot: Spot


Tree = Scalar | Items | Keys


def kind_of(tree: Tree) -> str:
    """What a value is, for messages."""
    match tree:
        case Items():
            return "a list"
        case Keys():
            return "a mapping"
        case Scalar() if tree.null:
            return "nothing"
        case _:
            return shorten(tree.text)


@dataclass(frozen=True, slots=True)
class Document:
    """One file as read. ``tree`` is None when ``problems`` says why."""

    path: Path
    shown: str
    tree: Tree | None
    sha256: str
    problems: tuple[Problem, ...] = ()


class _Refused(Exception):
    """The file cannot be read on; carries the problem."""

    def __init__(self, spot: Spot, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(spot, text)


@dataclass(slots=True)
class _Builder:
    """Builds the tree from events. ``problems`` collects what does not stop the reading."""

    path: str
    events: Iterator[Any]
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, tuple[Tree, int]] = field(default_factory=dict)
    values: int = 0

    def spot(self, event: Any) -> Spot:
        return Spot(self.path, event.start_mark.line + 1)

    def note(self, event: Any, text: str) -> None:
        self.problems.append(Problem(self.spot(event), text))

    def refuse(self, event: Any, reason: str) -> _Refused:
        return _Refused(self.spot(event), reason)

    def document(self) -> Tree | None:
        """The only document of the stream; None for an empty one."""
        tree: Tree | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if tree is not None:
                    raise self.refuse(event, "a second YAML document; one file holds one")
                tree = self.node(next(self.events), 1)
        return tree

    def node(self, event: Any, depth: int) -> Tree:
        if depth > MAX_DEPTH:
            raise self.refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        self.count(event, 1)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if event.tag is not None and event.tag != "!":
            tag = shorten(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self.note(event, f"the tag {tag} is not allowed; write the plain value")
        before = self.values
        tree = self.build(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (tree, self.values - before + 1)
        return tree

    def count(self, event: Any, values: int) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            raise self.refuse(event, f"more than {MAX_VALUES} values (aliases written out)")

    def alias(self, event: Any) -> Tree:
        """The anchored value. An anchor counts only once its value is complete, so a value
        cannot contain itself."""
        known = self.anchors.get(event.anchor)
        if known is None:
            raise self.refuse(event, f"the alias *{event.anchor} has no anchor before it")
        self.count(event, known[1])
        return known[0]

    def build(self, event: Any, depth: int) -> Tree:
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
                items.append(self.node(inner, depth + 1))
            return Items(tuple(items), self.spot(event))
        return self.mapping(event, depth)

    def scalar(self, event: Any) -> Scalar:
        quoted = bool(event.style)
        text: str = event.value
        if any(unicodedata.category(c) in ("Cc", "Cs") and c not in _LAYOUT for c in text):
            self.note(event, f"{shorten(text)} holds a control character")
        return Scalar(text, quoted, self.spot(event))

    def mapping(self, event: Any, depth: int) -> Keys:
        entries: dict[str, Tree] = {}
        places: dict[str, Spot] = {}
        while not isinstance(inner := next(self.events), yaml.MappingEndEvent):
            key = self.node(inner, depth + 1)
            value = self.node(next(self.events), depth + 1)
            place = self.spot(inner)
            if not isinstance(key, Scalar):
                self.note(inner, f"a key must be a word, not {kind_of(key)}")
            elif key.text == "<<" and not key.quoted:
                self.note(inner, "merge keys are not allowed; use `extends`")
            elif key.text in entries:
                first = places[key.text].line
                self.note(inner, f"{shorten(key.text)} is given twice (first in line {first})")
            else:
                entries[key.text], places[key.text] = value, place
        return Keys(entries, places, self.spot(event))


def read(path: Path, shown: str | None = None) -> Document:
    """Read one file. Mistakes are returned, never raised; ``shown`` is the path in messages."""
    name = shown or str(path)
    try:
        data = _content(path, name)
    except _Refused as refused:
        return Document(path, name, None, "", (refused.problem,))
    digest = hashlib.sha256(data).hexdigest()
    try:
        tree, problems = _parse(_decoded(data, name), name)
    except _Refused as refused:
        return Document(path, name, None, digest, (refused.problem,))
    return Document(path, name, tree, digest, tuple(problems))


def _content(path: Path, shown: str) -> bytes:
    """At most MAX_BYTES of a regular file, opened once so that it cannot change its kind."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _Refused(Spot(shown), "is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _Refused(Spot(shown), f"no such file{_nearest_file(path)}") from None
    except IsADirectoryError:
        raise _Refused(Spot(shown), f"is a directory; name a file in it{_files_in(path)}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _Refused(Spot(shown), f"cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise _Refused(Spot(shown), "larger than 1 MiB; a scenario file is a few kilobytes")
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    # a FIFO would block an ordinary open for ever
    return os.open(path, flags | os.O_NONBLOCK)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml"))
    except OSError:
        return []  # an unreadable folder offers no names; the missing file is reported anyway


def _nearest_file(path: Path) -> str:
    names = _names(path.parent)
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {path.with_name(near[0])}?"
    return f"; {path.parent}/ has {', '.join(names[:10])}" if names else ""


def _files_in(path: Path) -> str:
    names = _names(path)
    return f": {', '.join(names[:10])}" if names else ""


def _decoded(data: bytes, shown: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Refused(
            Spot(shown, line),
            f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8",
        ) from None


def _parse(text: str, shown: str) -> tuple[Tree, list[Problem]]:
    for number, line in enumerate(text.split("\n"), 1):
        if any(unicodedata.category(c) == "Cc" and c not in "\t\r" for c in line):
            raise _Refused(Spot(shown, number), "a control character in the text")
    builder = _Builder(shown, iter(yaml.parse(text, Loader=_LOADER)))
    try:
        tree = builder.document()
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _Refused(Spot(shown, at), f"not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise _Refused(Spot(shown, 1), f"not valid YAML: {shorten(str(error), 120)}") from None
    if tree is None or (isinstance(tree, Scalar) and tree.null):
        raise _Refused(Spot(shown, 1), "the file is empty; it needs `scenarios:`")
    return tree, builder.problems
