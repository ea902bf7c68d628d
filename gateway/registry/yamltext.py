"""YAML whose scalars are all text: the schema types them, not YAML (`id: 0123` and `site: no` are text).

Null, `~` and empty are absent (None). Refused with line and key: duplicate keys, tags, several documents, aliases that
unfold to more than a person writes, structures deeper or larger than a person writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from gateway.errors import Mistake

__all__ = ["Document", "Path", "Tree", "dotted", "parse"]

Tree = str | None | list["Tree"] | dict[str, "Tree"]
"""Texts, lists and mappings; None is absent."""

Path = tuple[str | int, ...]
"""Where in a tree: keys and indexes."""

LONGEST = 32 * 2**20
DEEPEST = 12
MOST_NODES = 4_000_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS = frozenset({None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file as a tree, the line of every key and item, and what is wrong with its form."""

    file: str
    tree: Tree = None
    lines: Mapping[Path, int] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()

    def line(self, path: Path) -> int | None:
        """Return the line of a path, else of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def mistake(self, path: Path, message: str) -> Mistake:
        """Return a mistake at a path."""
        return Mistake(file=self.file, line=self.line(path), key=dotted(path), message=message)


def dotted(path: Path) -> str:
    """Return a path as people read it.

    >>> dotted(("devices", 0, "channels", "mass", "unit"))
    'devices[0].channels.mass.unit'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def parse(text: str, file: str) -> Document:
    """Return the document in a YAML text; whatever the text, nothing is raised: mistakes are part of the document."""
    if len(text) > LONGEST:
        return _failed(file, None, f"is longer than {LONGEST} characters; split it into several files")
    text = text.removeprefix("\ufeff")
    try:
        return _Builder(file).build(yaml.parse(text, Loader=_LOADER))
    except _FormError as error:
        return Document(file=file, mistakes=(error.mistake,))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        parts = [p for p in (error.context, error.problem) if p]
        return _failed(file, mark.line + 1 if mark else None, "not YAML: " + ", ".join(parts))
    except yaml.reader.ReaderError as error:
        return _failed(file, None, f"not YAML: {error.reason} at position {error.position}")
    except UnicodeEncodeError as error:
        return _failed(file, None, f"not YAML: lone surrogate at position {error.start}")


def _failed(file: str, line: int | None, message: str) -> Document:
    return Document(file=file, mistakes=(Mistake(file=file, line=line, key="", message=message),))


class _FormError(Exception):
    """The text has a form that cannot be read on."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an anchor names: the tree, and how many nodes it unfolds to."""

    tree: Tree
    nodes: int


class _Builder:
    """Turns the parser's events into one document."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.mistakes: list[Mistake] = []
        self.anchors: dict[str, _Anchored] = {}
        self.nodes = 0

    def build(self, events: Iterator[yaml.Event]) -> Document:
        tree: Tree = None
        started = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if started:
                    raise self._error(event, (), "a second document (---) is not read; put it in its own file")
                started = True
                tree = self._node(next(events), events, ())
        return Document(file=self.file, tree=tree, lines=self.lines, mistakes=tuple(self.mistakes))

    def _error(self, event: yaml.Event, path: Path, message: str) -> _FormError:
        return _FormError(Mistake(file=self.file, line=_line(event), key=dotted(path), message=message))

    def _count(self, event: yaml.Event, path: Path, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MOST_NODES:
            raise self._error(event, path, f"more than {MOST_NODES} values, aliases unfolded; split the file")

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Tree:
        if len(path) > DEEPEST:
            raise self._error(event, path[:3], f"nested deeper than {DEEPEST} levels")
        self.lines.setdefault(path, _line(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        self._count(event, path, 1)
        if not isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            raise self._error(event, path, "expected a value")
        if event.tag not in _TAGS:
            raise self._error(event, path, f"the tag {event.tag} is not read; values are typed by their key")
        before = self.nodes
        tree: Tree
        if isinstance(event, yaml.ScalarEvent):
            tree = None if not event.style and event.tag is None and event.value in _NULLS else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            tree = [
                self._node(item, events, (*path, i)) for i, item in enumerate(_until(events, yaml.SequenceEndEvent))
            ]
        else:
            tree = self._mapping(events, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(tree, self.nodes - before + 1)
        return tree

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> dict[str, Tree]:
        tree: dict[str, Tree] = {}
        for key in _until(events, yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise self._error(key, path, "a key must be a plain text")
            name = key.value
            if name in tree:
                place = (*path, name)
                first = self.lines[place]
                message = f"is given twice, first in line {first}"
                self.mistakes.append(Mistake(file=self.file, line=_line(key), key=dotted(place), message=message))
                self._node(next(events), events, (*path, name, "(again)"))
                continue
            self.lines[(*path, name)] = _line(key)
            tree[name] = self._node(next(events), events, (*path, name))
        return tree

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Tree:
        found = self.anchors.get(event.anchor or "")
        if found is None:
            raise self._error(event, path, f"the alias *{event.anchor} names nothing above it")
        self._count(event, path, found.nodes)
        return found.tree


def _until(events: Iterator[yaml.Event], end: type[yaml.Event]) -> Iterator[yaml.Event]:
    """Yield the events of children; each child takes its own events from the same iterator."""
    for event in events:
        if isinstance(event, end):
            return
        yield event


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1
