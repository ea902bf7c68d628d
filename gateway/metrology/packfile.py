"""Rule packs as files: one YAML text read strictly, every mistake with its line and key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from hashlib import blake2b
from typing import TypeVar
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Mistakes
from gateway.metrology.formulas import Product, Span, Table, parse_power_factors, parse_product, parse_span
from gateway.metrology.instants import parse_date
from gateway.metrology.limits import Argument, Interval
from gateway.metrology.packchecks import check_bands
from gateway.metrology.packpoints import read_point_rules
from gateway.metrology.packtext import Node, read_page
from gateway.metrology.rules import Parameter, Row, RulePack

__all__ = ["UTC_ZONE", "parse_rule_pack"]

UTC_ZONE = ZoneInfo("UTC")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_DIMENSIONS = frozenset({"mass", "energy", "volume", "flow", "current"})
_ARGUMENT_DIMENSION = {Argument.FLOW: "flow", Argument.CURRENT: "current"}
_STATUS = {"verified": True, "unverified": False}
_KEYS = frozenset(
    {
        "id", "version", "title", "source", "note", "published", "effective_from", "effective_to", "status",
        "applies_to", "argument", "parameters", "ascending", "derived", "missing_temperature_C", "in_service",
        "at_least", "up_to", "limits", "points",
    }
)  # fmt: skip
_NEEDED = frozenset(
    {"id", "version", "title", "source", "status", "applies_to", "argument", "parameters", "in_service", "limits"}
)
_CONDITIONS = frozenset({"at", "mpe", "power_factor", "single_phase", "temperature_C", "status"})

T = TypeVar("T")


def parse_rule_pack(text: str, file: str, *, zone: ZoneInfo = UTC_ZONE) -> RulePack:
    """Return the rule pack a YAML text holds; raises Mistakes with every mistake, its line and key.

    `file` names the text in mistakes. Effective dates begin at 00:00 in `zone`.
    """
    root = read_page(text, file)
    pack = _Reader(root, zone).pack(blake2b(text.encode(), digest_size=8).hexdigest())
    root.page.settle()
    if pack is None:
        raise Mistakes([Mistake(file=file, line=root.line, key="", message="is not a rule pack")])
    return pack


class _Reader:
    """Reads one pack; mistakes go to the page, and whatever is wrong is left out until the page settles."""

    def __init__(self, root: Node, zone: ZoneInfo) -> None:
        self.top = root.mapping(allowed=_KEYS, needed=_NEEDED)
        self.root = root
        self.zone = zone
        self.dimension = ""
        self.argument = Argument.REFERENCE
        self.symbol = "x"
        self.parameters: dict[str, Parameter] = {}
        self.dimensions: dict[str, str] = {}
        self.derived: dict[str, Product | Table] = {}
        self.verified = False

    def pack(self, digest: str) -> RulePack | None:
        top = self.top
        if not top.keys() >= _NEEDED:
            return None
        self.verified = self.choice(top["status"], _STATUS) or False
        self.dimension = self.choice(top["applies_to"], {d: d for d in _DIMENSIONS}) or "mass"
        self._argument(top["argument"])
        for name, node in top["parameters"].mapping().items():
            self._parameter(name, node)
        self._derived()
        factor, factor_verified = self._in_service(top["in_service"])
        at_least, at_least_verified = self._at_least()
        placed = [(self._row(node), self._place_of(node)) for node in top["limits"].items()]
        if not placed:
            top["limits"].wrong("has no row")
        sound = [(row, node) for row, node in placed if row is not None]
        ascending = tuple(self._known_name(node) for node in top["ascending"].items()) if "ascending" in top else ()
        if len(sound) == len(placed) and not self.root.page.mistakes:
            check_bands(sound, self.parameters, ascending, of_reference=self.argument is Argument.REFERENCE)
        return RulePack(
            id=self.attempt(top["id"], _matching(_NAME)) or "",
            version=self.attempt(top["version"], _matching(re.compile(r"[A-Za-z0-9._-]{1,32}"))) or "",
            title=top["title"].text(),
            source=top["source"].text(),
            effective_from=self._date("effective_from"),
            effective_to=self._date("effective_to"),
            dimension=self.dimension,
            argument=self.argument,
            symbol=self.symbol,
            parameters=self.parameters,
            ascending=ascending,
            derived=self.derived,
            assumed_temperature=self._assumed(),
            in_service_factor=factor,
            in_service_verified=factor_verified,
            at_least=at_least,
            at_least_verified=at_least_verified,
            up_to=self.product(top["up_to"], {self._argument_dimension(): 1}) if "up_to" in top else None,
            rows=tuple(row for row, _ in sound),
            point_rules=tuple(read_point_rules(self, top["points"])) if "points" in top else (),
            file=self.root.page.file,
            digest=digest,
        )

    def attempt(self, node: Node, read: Callable[[str], T]) -> T | None:
        """Return what a text stands for; a mistake and None when it cannot be read."""
        text = node.text()
        try:
            return read(text)
        except ValueError as error:
            if text:
                node.wrong(str(error))
        return None

    def choice(self, node: Node, choices: Mapping[str, T]) -> T | None:
        """Return what a text chooses; a mistake and None when it is none of the choices."""
        text = node.text()
        if text not in choices:
            node.wrong(f"{text!r} is not one of {', '.join(sorted(choices))}")
            return None
        return choices[text]

    def _date(self, key: str) -> int | None:
        return self.attempt(self.top[key], lambda text: parse_date(text, self.zone)) if key in self.top else None

    def _argument_dimension(self) -> str:
        return _ARGUMENT_DIMENSION.get(self.argument, self.dimension)

    def _argument(self, node: Node) -> None:
        found = node.mapping(allowed=frozenset({"symbol", "of"}), needed=frozenset({"symbol", "of"}))
        if len(found) == 2:
            self.argument = self.choice(found["of"], {a.value: a for a in Argument}) or Argument.REFERENCE
            self.symbol = self.attempt(found["symbol"], _matching(_SYMBOL)) or "x"
        self.dimensions[self.symbol] = self._argument_dimension()

    def _parameter(self, name: str, node: Node) -> None:
        keys = node.mapping(allowed=frozenset({"values", "also", "dimension", "prefix", "number", "when"}))
        if not _SYMBOL.fullmatch(name) or name in self.dimensions:
            node.wrong("is not a new name of letters and digits")
            return
        if len(keys.keys() & {"values", "dimension", "number"}) != 1:
            node.wrong("has one of: values, dimension, number")
            return
        values = tuple(n.text() for n in keys["values"].items()) if "values" in keys else ()
        also = {k: n.text() for k, n in keys["also"].mapping().items()} if "also" in keys else {}
        if not set(also.values()) <= set(values):
            keys["also"].wrong("leads to a value that is not listed")
        dimension = self.choice(keys["dimension"], {d: d for d in _DIMENSIONS}) if "dimension" in keys else None
        when = (
            {k: tuple(t.text() for t in n.items()) for k, n in keys["when"].mapping().items()} if "when" in keys else {}
        )
        for other in when.keys() - self.parameters.keys():
            keys["when"].wrong(f"{other} is not a parameter above")
        prefix = keys["prefix"].text() if "prefix" in keys else ""
        self.parameters[name] = Parameter(
            name=name, values=values, also=also, dimension=dimension, prefix=prefix, when=when
        )
        if not values:
            self.dimensions[name] = dimension or "ratio"

    def _known_name(self, node: Node) -> str:
        if node.text() not in self.parameters:
            node.wrong(f"{node.text()!r} is not a parameter")
        return node.text()

    def _derived(self) -> None:
        for name, node in self.top["derived"].mapping().items() if "derived" in self.top else ():
            rule = self.rule(node)
            if rule is None:
                continue
            first = next(iter(rule.values.values())) if isinstance(rule, Table) else rule
            dimension = first.dimension(self.dimensions)
            if not _SYMBOL.fullmatch(name) or name in self.dimensions or list(dimension.values()) not in ([], [1]):
                node.wrong("is not a new name for a plain quantity")
                continue
            self.derived[name] = rule
            self.dimensions[name] = next(iter(dimension), "ratio")

    def rule(self, node: Node) -> Product | Table | None:
        """Return a product, or one per class."""
        if not isinstance(node.value, dict):
            return self.product(node, None)
        chooser = self.parameters.get("class")
        found = {k: self.product(n, None) for k, n in node.mapping().items()}
        if chooser is None or set(found) != set(chooser.values):
            node.wrong(f"has one number for each class: {', '.join(chooser.values if chooser else ())}")
            return None
        products = {k: p for k, p in found.items() if p is not None}
        return Table(by="class", values=products) if len(products) == len(found) else None

    def product(self, node: Node, wanted: Mapping[str, int] | None) -> Product | None:
        """Return a product of the wanted dimension (None: any); a mistake when it is zero or of another."""
        product = self.attempt(node, lambda text: parse_product(text, frozenset(self.dimensions)))
        if product is not None and product.coefficient == 0:
            node.wrong("is zero")
            return None
        if product is not None and wanted is not None and product.dimension(self.dimensions) != wanted:
            node.wrong(f"is not {' '.join(wanted) or 'a ratio'}")
        return product

    def _assumed(self) -> tuple[str, Mapping[str, float]] | None:
        if "missing_temperature_C" not in self.top:
            return None
        node = self.top["missing_temperature_C"]
        degrees = {k: self.attempt(n, float) or 0.0 for k, n in node.mapping().items()}
        chooser = self.parameters.get("temperature_class")
        if chooser is None or not set(degrees) <= set(chooser.values):
            node.wrong("names temperature classes that are not listed")
        return "temperature_class", degrees

    def _in_service(self, node: Node) -> tuple[Fraction, bool]:
        keys = node.mapping(allowed=frozenset({"factor", "status", "source"}), needed=frozenset({"factor"}))
        factor = self.product(keys["factor"], {}) if "factor" in keys else None
        status = self.choice(keys["status"], _STATUS) if "status" in keys else self.verified
        return (factor.coefficient if factor else Fraction(1)), bool(status)

    def _at_least(self) -> tuple[Product | None, bool]:
        if "at_least" not in self.top:
            return None, True
        keys = self.top["at_least"].mapping(allowed=frozenset({"mpe", "status"}), needed=frozenset({"mpe"}))
        product = self.product(keys["mpe"], {self.dimension: 1}) if "mpe" in keys else None
        status = self.choice(keys["status"], _STATUS) if "status" in keys else self.verified
        return product, bool(status)

    def _row(self, node: Node) -> Row | None:
        keys = node.mapping(allowed=_CONDITIONS | self.parameters.keys(), needed=frozenset({"at", "mpe"}))
        if not {"at", "mpe"} <= keys.keys():
            return None
        only = self.only(keys)
        at = self.span(keys["at"], self._argument_dimension())
        mpe = self.rule(keys["mpe"])
        sizes = {
            name: self.span(keys[name], self.dimensions[name])
            for name, p in self.parameters.items()
            if not p.values and name in keys
        }
        if at is None or mpe is None:
            return None
        shape = self._shape(keys["mpe"], mpe)
        status = self.choice(keys["status"], _STATUS) if "status" in keys else self.verified
        if shape is None:
            return None
        return Row(
            only=only,
            at=at,
            mpe=shape[2],
            relative=shape[0],
            power=shape[1],
            power_factors=self.attempt(keys["power_factor"], parse_power_factors) if "power_factor" in keys else None,
            single_phase=self.choice(keys["single_phase"], _FLAGS) if "single_phase" in keys else None,
            temperature=self.attempt(keys["temperature_C"], _interval) if "temperature_C" in keys else None,
            sizes={name: span for name, span in sizes.items() if span is not None},
            verified=bool(status),
        )

    def only(self, keys: Mapping[str, Node]) -> dict[str, tuple[str, ...]]:
        """Return the choices of parameters that keys of a row narrow it to."""
        choosers = {name: p for name, p in self.parameters.items() if p.values and name in keys}
        found = {name: tuple(n.text() for n in keys[name].items()) for name in choosers}
        for name, values in found.items():
            if not set(values) <= set(choosers[name].values):
                keys[name].wrong(f"is not among {', '.join(choosers[name].values)}")
        return found

    def span(self, node: Node, dimension: str | None = None) -> Span | None:
        """Return an interval whose edges are of a dimension (None: that of the argument)."""
        found = self.attempt(node, lambda text: parse_span(text, frozenset(self.dimensions)))
        wanted = dimension or self._argument_dimension()
        for edge in () if found is None else (found.low, found.high):
            if edge is not None and edge.coefficient and edge.dimension(self.dimensions) != {wanted: 1}:
                node.wrong(f"has an edge that is not {wanted}")
        return found

    @staticmethod
    def _place_of(node: Node) -> Node:
        """Return where the interval of a row stands."""
        return node.value["at"] if isinstance(node.value, dict) and "at" in node.value else node

    def _shape(self, node: Node, rule: Product | Table) -> tuple[bool, int, Product | Table] | None:
        """Return whether an MPE is relative, its power of the argument, and the rest of it."""
        products = rule.values if isinstance(rule, Table) else {"": rule}
        shapes = {(str(p.dimension(self.dimensions)), p.without(self.symbol)[1]) for p in products.values()}
        first = next(iter(products.values()))
        dimension, power = first.dimension(self.dimensions), first.without(self.symbol)[1]
        if len(shapes) != 1 or dimension not in ({}, {self.dimension: 1}) or power not in {0, -1}:
            node.wrong(f"is neither a share of the reference nor {self.dimension}")
            return None
        rest = {k: p.without(self.symbol)[0] for k, p in products.items()}
        return not dimension, power, Table(by="class", values=rest) if isinstance(rule, Table) else rest[""]


_FLAGS = {"true": True, "false": False}


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text[:40]!r} is not a name of this kind")
        return text

    return read


def _interval(text: str) -> Interval:
    """Return a plain numeric interval such as `(-inf, 30]`."""
    span = parse_span(text, frozenset())
    edges = [None if e is None else e.coefficient for e in (span.low, span.high)]
    return Interval(
        low=float("-inf") if edges[0] is None else float(edges[0]),
        high=float("inf") if edges[1] is None else float(edges[1]),
        low_closed=span.low_closed,
        high_closed=span.high_closed,
    )
