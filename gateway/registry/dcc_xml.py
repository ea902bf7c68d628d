"""XML of certificates as a tree with lines; nothing in the file can reach outside it or grow.

The parser is expat with what is dangerous refused at the first sign: a document type (and so every entity that could be
declared), a file, a tree or a depth larger than certificates are. No network, no file and no schema is ever opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from gateway.errors import Mistake

__all__ = ["DCC", "DS", "SI", "Node", "parse_xml"]

DCC = "https://ptb.de/dcc"
SI = "https://ptb.de/si"
DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.3.2#"

LARGEST = 32 * 2**20
DEEPEST = 64
MOST_ELEMENTS = 200_000

_PREFIXES = {DCC: "dcc", SI: "si", DS: "ds", XADES: "xades"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One element: `name` is `dcc:quantity`, `path` the names from below the root; `text` is its own text."""

    name: str
    path: str
    line: int
    attributes: dict[str, str]
    children: tuple[Node, ...]
    text: str

    def all(self, *names: str) -> Iterator[Node]:
        """Yield the children of these names, in order."""
        return (c for c in self.children if c.name in names)

    def one(self, *names: str) -> Node | None:
        """Return the first child of one of these names."""
        return next(self.all(*names), None)

    def at(self, path: str) -> Node | None:
        """Return the first element below at a path such as `dcc:a/dcc:b`."""
        found: Node | None = self
        for name in path.split("/"):
            found = None if found is None else found.one(name)
        return found

    def every(self, *names: str) -> Iterator[Node]:
        """Yield the elements of these names at any depth below, in document order."""
        for child in self.children:
            if child.name in names:
                yield child
            yield from child.every(*names)

    @property
    def plain(self) -> str:
        """The text without blanks around it."""
        return self.text.strip()


class _RefusedError(Exception):
    """The file is refused; the line is where."""

    def __init__(self, line: int, key: str, message: str) -> None:
        super().__init__(message)
        self.line, self.key = line, key


@dataclass(slots=True)
class _Open:
    """An element that is being read."""

    name: str
    path: str
    line: int
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


class _Builder:
    """Builds the tree from the parser's calls."""

    def __init__(self) -> None:
        self.open: list[_Open] = []
        self.root: Node | None = None
        self.elements = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._doctype

    def build(self, raw: bytes) -> Node:
        self.parser.Parse(raw, True)
        if self.root is None:
            raise _RefusedError(1, "", "is empty")
        return self.root

    def _doctype(self, *_: object) -> None:
        raise _RefusedError(
            self.parser.CurrentLineNumber,
            "DOCTYPE",
            "has a document type, which certificates have not and which could pull in other files; remove it",
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        shown = _shown(name)
        path = f"{self.open[-1].path}/{shown}" if len(self.open) > 1 else shown
        self.elements += 1
        if len(self.open) >= DEEPEST:
            raise _RefusedError(line, shown, f"is nested deeper than {DEEPEST} elements; no certificate is")
        if self.elements > MOST_ELEMENTS:
            raise _RefusedError(
                line, shown, f"there are more than {MOST_ELEMENTS} elements; no certificate has so many"
            )
        self.open.append(_Open(shown, path, line, {_shown(k): v for k, v in attributes.items()}))

    def _end(self, _: str) -> None:
        done = self.open.pop()
        node = Node(
            name=done.name,
            path=done.path,
            line=done.line,
            attributes=done.attributes,
            children=tuple(done.children),
            text="".join(done.text),
        )
        if self.open:
            self.open[-1].children.append(node)
        else:
            self.root = node

    def _characters(self, text: str) -> None:
        self.open[-1].text.append(text)


def _shown(name: str) -> str:
    """Return a name with the usual prefix of its namespace; a foreign namespace is spelled out."""
    namespace, _, local = name.rpartition(" ")
    if not namespace:
        return local
    return f"{_PREFIXES[namespace]}:{local}" if namespace in _PREFIXES else f"{{{namespace}}}{local}"


def parse_xml(raw: bytes, file: str) -> Node | Mistake:
    """Return the root element of an XML text, or why it is refused, with its line; nothing is raised."""
    if len(raw) > LARGEST:
        return Mistake(file=file, line=None, key="", message=f"is larger than {LARGEST} bytes; no certificate is")
    builder = _Builder()
    try:
        return builder.build(raw)
    except _RefusedError as refused:
        return Mistake(file=file, line=refused.line, key=refused.key, message=str(refused))
    except expat.ExpatError as error:
        words = expat.errors.messages.get(error.code, "damaged")
        message = f"not XML: {words}; the file is damaged or was changed by hand"
        return Mistake(file=file, line=error.lineno, key=builder.open[-1].path if builder.open else "", message=message)
    except (LookupError, ValueError) as error:
        return Mistake(file=file, line=1, key="", message=f"not XML: {error}; save it as UTF-8")
