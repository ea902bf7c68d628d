"""A channel as written becomes a channel in fixed units, the defaults of its kind filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches

from gateway.errors import Mistake
from gateway.metrology.units import Quantity, UnitError, convert, dimension_for, parse_quantity, to_decimal
from gateway.registry.model import Axis, Center, Channel, ChannelType, DriftSettings, ErrorKind, Influence, Kind
from gateway.registry.specs import ChannelSpec, DeviceSpec, Drift, Entry
from gateway.registry.yamltext import Path

__all__ = ["channel_from"]

CHECKS_PER_INFLUENCE = 10
"""Fewer checks of Phase I say too little of a slope."""

RELATIVE_KINDS = frozenset({Kind.ELECTRICITY, Kind.WATER, Kind.GAS, Kind.FUEL})
AXES: Mapping[Kind, Axis] = {
    Kind.ELECTRICITY: Axis.CURRENT,
    Kind.WATER: Axis.FLOW,
    Kind.GAS: Axis.FLOW,
    Kind.FUEL: Axis.FLOW,
}


def channel_from(entry: Entry[DeviceSpec], name: str, spec: ChannelSpec, mistakes: list[Mistake]) -> Channel:
    """Return a channel of a device; what is wrong with it is added to the mistakes."""
    return _Channel(mistakes, entry, name, spec).channel()


@dataclass(slots=True)
class _Channel:
    """One channel of one device."""

    mistakes: list[Mistake]
    entry: Entry[DeviceSpec]
    name: str
    spec: ChannelSpec

    def wrong(self, path: Path, message: str) -> None:
        self.mistakes.append(self.entry.mistake(("channels", self.name, *path), message))

    def channel(self) -> Channel:
        spec, device = self.spec, self.entry.spec
        relative = spec.error is ErrorKind.RELATIVE or (spec.error is None and device.kind in RELATIVE_KINDS)
        self._unit()
        self._counts()
        subgroup, stuck = spec.subgroup, spec.stuck
        return Channel(
            name=self.name,
            unit=spec.unit,
            type=spec.type,
            error=ErrorKind.RELATIVE if relative else ErrorKind.ABSOLUTE,
            axis=spec.axis or AXES.get(device.kind, Axis.REFERENCE),
            sigma=self._sigma("%" if relative else spec.unit),
            resolution=self._resolution(),
            center=spec.center,
            learn=spec.learn,
            subgroup_n=(subgroup.n or 1) if subgroup is not None else 1,
            subgroup_ns=None if subgroup is None else subgroup.ns,
            every_ns=spec.every,
            timeout_ns=spec.timeout,
            range=self._range(),
            stuck_n=None if stuck is None else stuck.n,
            stuck_ns=None if stuck is None else stuck.ns,
            standard=spec.standard,
            digits=spec.digits,
            multiplier=Decimal(1) if spec.multiplier is None else spec.multiplier,
            drift=self._drift(),
            influences=self._influences(),
        )

    def _unit(self) -> None:
        try:
            dimension_for(self.entry.spec.kind.value, self.name, self.spec.unit)
        except UnitError as error:
            self.wrong(("unit",), str(error))

    def _counts(self) -> None:
        spec = self.spec
        if not 2 <= spec.learn <= 10_000:
            self.wrong(("learn",), "must be 2 to 10000 checks")
        if spec.stuck is not None and spec.stuck.n is not None and spec.stuck.n < 2:
            self.wrong(("stuck",), "must be at least 2 readings, or a duration")
        if spec.subgroup is not None and (spec.subgroup.n or 1) > 1000:
            self.wrong(("subgroup",), "must be at most 1000 checks")
        if spec.type is not ChannelType.REGISTER:
            for key in ("digits", "multiplier"):
                if getattr(spec, key) is not None:
                    self.wrong((key,), "is for channels of type register")
        if spec.digits is not None and not 1 <= spec.digits <= 18:
            self.wrong(("digits",), "must be 1 to 18")

    def _converted(self, value: Quantity, target: str, path: Path, *, difference: bool) -> Decimal | None:
        try:
            return to_decimal(convert(value.value, value.unit, target, difference=difference))
        except UnitError as error:
            self.wrong(path, str(error))
            return None

    def _sigma(self, error_unit: str) -> Decimal | None:
        given = self.spec.sigma
        if given is None:
            return None
        if given.value <= 0:
            self.wrong(("sigma",), "must be above 0; leave it out to have it learned")
        return self._converted(given, error_unit, ("sigma",), difference=True)

    def _resolution(self) -> Decimal:
        """Return the resolution: as given, else parameter d where it is of the channel's dimension, else 0."""
        given = self.spec.resolution
        if given is not None:
            return self._converted(given, self.spec.unit, ("resolution",), difference=True) or Decimal(0)
        text = self.entry.spec.parameters.get("d")
        if text is None:
            return Decimal(0)
        try:
            interval = parse_quantity(text)
        except ValueError as error:
            if self.entry.spec.rule_pack == "none":
                self.mistakes.append(self.entry.mistake(("parameters", "d"), str(error)))
            return Decimal(0)
        try:
            return to_decimal(convert(interval.value, interval.unit, self.spec.unit, difference=True))
        except UnitError:
            return Decimal(0)

    def _range(self) -> tuple[Decimal, Decimal] | None:
        given = self.spec.range
        if given is None:
            return None
        low = self._converted(given[0], self.spec.unit, ("range", 0), difference=False)
        high = self._converted(given[1], self.spec.unit, ("range", 1), difference=False)
        if low is None or high is None:
            return None
        if low >= high:
            self.wrong(("range",), f"begins at {given[0]} and ends at {given[1]}; write [lowest, highest]")
        return low, high

    def _influences(self) -> tuple[Influence, ...]:
        """Return what the error may follow; it is learned with the centre, check by check."""
        from gateway.drift.influence import MOST

        spec, given = self.spec, tuple(self.spec.influences or ())
        if not given:
            return ()
        if len(set(given)) < len(given) or len(given) > MOST:
            self.wrong(("influences",), f"must be up to {MOST} different conditions")
        if spec.center is Center.CERTIFICATE:
            self.wrong(("center",), "influences are learned with the centre; use center: learned")
        if spec.subgroup is not None:
            self.wrong(("subgroup",), "influences are removed check by check; leave subgroup out")
        if spec.learn < CHECKS_PER_INFLUENCE * len(given):
            self.wrong(("learn",), f"must be at least {CHECKS_PER_INFLUENCE} checks for each influence")
        return given

    def _drift(self) -> DriftSettings | None:
        own = self.spec.drift
        given = own if own is not None else self.entry.spec.drift
        if given is None:
            return None
        path: Path = ("channels", self.name, "drift") if own is not None else ("drift",)
        self.mistakes += [self.entry.mistake((*path, *place), message) for place, message in _chart_mistakes(given)]
        if "self_starting" in given and self.spec.influences:
            self.mistakes.append(
                self.entry.mistake((*path, "self_starting"), "cannot be charted before influences are learned")
            )
        return {chart: {name: _number(value) for name, value in values.items()} for chart, values in given.items()}


def _number(value: Decimal | tuple[str, ...]) -> float:
    """Return a parameter as charts take it, names of rules as the sum of their bits (0 where there is a mistake)."""
    from gateway.drift.supplementary import RULES, rules_code

    if not isinstance(value, tuple):
        return float(value)
    return float(rules_code(set(value) & set(RULES)))


def _chart_mistakes(given: Drift) -> list[tuple[Path, str]]:
    """Return what is wrong with charts and their parameters."""
    from gateway.drift.charts import detectors

    charts = {d.name: d for d in detectors() if d.kind == "drift"}
    found: list[tuple[Path, str]] = []
    usual = ", ".join(name for name, d in charts.items() if not d.optional)
    if not given:
        found.append(((), f"name at least one chart of {usual}, or leave drift out"))
    for name, values in given.items():
        if name not in charts:
            near = get_close_matches(name, [n for n, d in charts.items() if d.optional], n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known are {usual}"
            found.append(((name,), f"unknown chart; {remedy}"))
            continue
        for parameter, value in values.items():
            known = (*charts[name].parameters, *charts[name].options)
            if parameter not in known:
                found.append(((name, parameter), f"unknown key; {name} has {', '.join(known)}"))
            elif parameter == "rules" or isinstance(value, tuple):
                found += [((name, parameter), message) for message in _rule_mistakes(parameter, value)]
            elif value <= 0 or (parameter == "lambda" and value > 1):
                wanted = "above 0 and at most 1" if parameter == "lambda" else "above 0"
                found.append(((name, parameter), f"must be {wanted}"))
    return found + _head_start_mistakes(given)


def _rule_mistakes(parameter: str, value: Decimal | tuple[str, ...]) -> list[str]:
    """Return what is wrong with a list of supplementary rules, or with a list where none belongs."""
    from gateway.drift.supplementary import RULES

    if parameter != "rules":
        return ["must be a number"]
    if not isinstance(value, tuple) or not value:
        return [f"must be a list of {', '.join(RULES)}"]
    unknown = [name for name in value if name not in RULES]
    if unknown:
        return [f"unknown rule {unknown[0]!r}; known are {', '.join(RULES)}"]
    return ["names a rule twice"] if len(set(value)) < len(value) else []


def _head_start_mistakes(given: Drift) -> list[tuple[Path, str]]:
    """Return whether a head start is too large: beyond h/2 + k both sides could signal together."""
    from gateway.drift.cusum import DETECTOR

    settings = given.get("cusum", {})
    numbers = {n: float(v) for n, v in settings.items() if not isinstance(v, tuple)}
    k, h = (numbers.get(n, DETECTOR.parameters[n]) for n in ("k", "h"))
    if numbers.get("head_start", 0.0) <= h / 2.0 + k:
        return []
    return [(("cusum", "head_start"), f"must be at most h/2 + k = {h / 2.0 + k:g}")]
