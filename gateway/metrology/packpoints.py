"""Rules over whole sets of points, as a rule pack writes them under `points`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Protocol, TypeVar

from gateway.metrology.formulas import Product, Span, Table
from gateway.metrology.packtext import Node
from gateway.metrology.pointsets import PointRule, PointRuleKind
from gateway.metrology.rules import Parameter

__all__ = ["PackReader", "read_point_rules"]

T = TypeVar("T")
_KEYS = frozenset({"rule", "at", "some", "every", "limit", "full", "knee", "status", "source"})
_NEEDED = {
    PointRuleKind.SAME_SIGN: frozenset({"rule", "at"}),
    PointRuleKind.WEIGHTED_MEAN: frozenset({"rule", "at", "limit", "full", "knee"}),
}


class PackReader(Protocol):
    """What reading a pack offers: each method notes a mistake and returns None when it cannot."""

    parameters: dict[str, Parameter]
    verified: bool

    def choice(self, node: Node, choices: Mapping[str, T]) -> T | None:
        """Return what a text chooses."""

    def attempt(self, node: Node, read: Callable[[str], T]) -> T | None:
        """Return what a text stands for."""

    def product(self, node: Node, wanted: Mapping[str, int] | None) -> Product | None:
        """Return a product of a dimension."""

    def rule(self, node: Node) -> Product | Table | None:
        """Return a product, or one per class."""

    def span(self, node: Node, dimension: str | None = None) -> Span | None:
        """Return an interval of the argument."""

    def only(self, keys: Mapping[str, Node]) -> dict[str, tuple[str, ...]]:
        """Return the choices a row is narrowed to."""


def read_point_rules(reader: PackReader, node: Node) -> Iterator[PointRule]:
    """Yield the rules of a list; those with mistakes are left out."""
    for item in node.items():
        found = _point_rule(reader, item)
        if found is not None:
            yield found


def _point_rule(reader: PackReader, node: Node) -> PointRule | None:
    choosers = {name for name, p in reader.parameters.items() if p.values}
    keys = node.mapping(allowed=_KEYS | choosers, needed=frozenset({"rule", "at"}))
    kind = reader.choice(keys["rule"], {k.value: k for k in PointRuleKind}) if "rule" in keys else None
    at = reader.span(keys["at"]) if "at" in keys else None
    if kind is None or at is None:
        return None
    for missing in sorted(_NEEDED[kind] - keys.keys()):
        node.wrong("is missing", missing)
    same_sign = kind is PointRuleKind.SAME_SIGN
    if same_sign and len(keys.keys() & {"some", "every"}) != 1:
        node.wrong("has one of: some (a share of the MPE), every (a limit)")
    for foreign in sorted(keys.keys() & ({"limit", "full", "knee"} if same_sign else {"some", "every"})):
        keys[foreign].wrong(f"does not belong to {kind.value}")
    limit = reader.rule(keys["limit"]) if "limit" in keys else None
    status = reader.choice(keys["status"], {"verified": True, "unverified": False}) if "status" in keys else None
    return PointRule(
        kind=kind,
        at=at,
        only=reader.only(keys),
        some=_ratio(reader, keys, "some"),
        every=reader.product(keys["every"], {}) if "every" in keys else None,
        limit=limit,
        full=reader.product(keys["full"], None) if "full" in keys else None,
        knee=_ratio(reader, keys, "knee"),
        verified=reader.verified if status is None else status,
        source=keys["source"].text() if "source" in keys else "",
    )


def _ratio(reader: PackReader, keys: Mapping[str, Node], name: str) -> Fraction | None:
    """Return a share between 0 and 1."""
    found = reader.product(keys[name], {}) if name in keys else None
    if found is not None and (found.powers or not 0 < found.coefficient <= 1):
        keys[name].wrong("is not a share between 0 and 1")
    return None if found is None else found.coefficient
