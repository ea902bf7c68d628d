"""YAML of rule packs as a tree of texts that know their line; mistakes are collected, not raised one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from gateway.errors import Mistake, Mistakes

__all__ = ["Node", "Page", "read_page"]

_LARGEST = 1_000_000
_DEEPEST = 20
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True, kw_only=True)
class Page:
    """One file being read, and the mistakes found in it so far."""

    file: str
    mistakes: list[Mistake] = field(default_factory=list)

    def wrong(self, line: int | None, key: str, message: str) -> None:
        """Note a mistake; reading goes on."""
        self.mistakes.append(Mistake(file=self.file, line=line, key=key, message=message))

    def settle(self) -> None:
        """Raise all mistakes together, if there are any."""
        if self.mistakes:
            raise Mistakes(self.mistakes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A text, a list or a mapping at a place; every scalar is text, whatever YAML would make of it."""

    page: Page
    line: int
    path: str
    value: str | tuple[Node, ...] | dict[str, Node]

    def wrong(self, message: str, key: str = "") -> None:
        """Note a mistake here, or at a key below."""
        path = f"{self.path}.{key}" if key and self.path else key or self.path
        self.page.wrong(self.line, path, message)

    def text(self) -> str:
        """Return the text here; a mistake and empty text when it is something else."""
        if isinstance(self.value, str):
            return self.value
        self.wrong("is a text")
        return ""

    def items(self) -> tuple[Node, ...]:
        """Return the list here, a single text being a list of one."""
        if isinstance(self.value, tuple):
            return self.value
        if isinstance(self.value, str):
            return (self,)
        self.wrong("is a list")
        return ()

    def mapping(
        self, *, allowed: frozenset[str] | None = None, needed: frozenset[str] = frozenset()
    ) -> dict[str, Node]:
        """Return the mapping here, noting unknown and missing keys; empty values are absent."""
        if not isinstance(self.value, dict):
            self.wrong("is a mapping of keys to values")
            return {}
        found = {k: v for k, v in self.value.items() if not _absent(v)}
        if allowed is not None:
            for key in sorted(found.keys() - allowed):
                found.pop(key).wrong(f"is an unknown key; known are {', '.join(sorted(allowed))}")
        for key in sorted(needed - found.keys()):
            self.wrong("is missing", key)
        return found


def _absent(node: Node) -> bool:
    return isinstance(node.value, str) and node.value in {"", "null", "~"}


def read_page(text: str, file: str) -> Node:
    """Return the root mapping of one YAML document; Mistakes when it cannot be read, or repeats a key."""
    page = Page(file=file)
    if len(text) > _LARGEST:
        page.wrong(None, "", "is larger than a rule pack may be (1 MB)")
    page.settle()
    try:
        _refuse_depth(yaml.parse(text, _Loader), page)
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        page.wrong(None if mark is None else mark.line + 1, "", f"is not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        page.wrong(None, "", f"is not YAML: {' '.join(str(error).split())}")
    page.settle()
    if not isinstance(root, yaml.MappingNode):
        page.wrong(1, "", "is not a mapping of keys to values")
        page.settle()
    node = _node(root, page, "")
    page.settle()
    return node


def _refuse_depth(events: Iterator[Any], page: Page) -> None:
    """Refuse aliases and deep nesting, both of which make small files expensive."""
    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            page.wrong(_line(event), "", "has an alias (*); write the value out")
            page.settle()
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            page.wrong(_line(event), "", f"is nested deeper than {_DEEPEST}")
            page.settle()


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _node(raw: Any, page: Page, path: str) -> Node:
    line = raw.start_mark.line + 1
    value: str | tuple[Node, ...] | dict[str, Node]
    if isinstance(raw, yaml.ScalarNode):
        value = raw.value.strip()
    elif isinstance(raw, yaml.SequenceNode):
        value = tuple(_node(item, page, f"{path}[{i}]") for i, item in enumerate(raw.value))
    else:
        value = _mapping(raw, page, path)
    return Node(page=page, line=line, path=path, value=value)


def _mapping(raw: Any, page: Page, path: str) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for key, below in raw.value:
        line = key.start_mark.line + 1
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        where = f"{path}.{name}" if path else name
        if not name:
            page.wrong(line, path, "has a key that is not a text")
        elif name in found:
            page.wrong(line, where, "is given twice")
        else:
            found[name] = _node(below, page, where)
    return found
