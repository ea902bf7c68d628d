"""A believable metrology centre: scales of markets, meters on benches, dispensers, and what they report in 120 days.

Everything follows from the seed. Certificates are good: their U is a sixteenth of the daily check's σ, so that the
constant offset they leave does not shorten the charts' run lengths. Errors are the certificate's plus an offset
within its uncertainty, noise of σ, the injected faults, and rounding to the indication's resolution.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

from collectors.simulator.faults import DAY_NS, KINDS, Fault, Signal, signal_at

__all__ = ["DAYS", "Centre", "Instrument"]

DAYS = 120
HOUR_NS = 3600 * 10**9
_ZONE = timezone(timedelta(hours=7))
_START = int(datetime(2026, 3, 2, tzinfo=_ZONE).timestamp()) * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One channel of one device and how it is checked.

    `loads`: reference values of its daily checks with their conditions, in `unit`; empty: it only reports, around
    `level` ± `spread`. `sigma` and the certificate's `errors` are in the error unit: % where `relative`.
    """

    device: str
    name: str
    kind: str
    channel: str
    unit: str
    rule_pack: str
    parameters: str
    relative: bool
    sigma: float
    resolution: float
    digits: int
    mpe: float
    loads: tuple[tuple[float, str], ...] = ()
    points: tuple[tuple[str, float], ...] = ()
    U: float = 0.0
    reference_u: float = 0.0
    level: float = 0.0
    spread: float = 0.0
    per_day: int = 2
    wrong_unit: str = "L"
    type: str = "indication"
    stuck: int | None = None

    @property
    def is_checked(self) -> bool:
        """Whether checks tell its error."""
        return bool(self.loads)


def _scale(n: int, place: str) -> Instrument:
    return Instrument(
        device=f"scale-{n:02d}", name=f"Cân bàn {place}", kind="weighing", channel="mass", unit="kg",
        rule_pack="oiml-r76", parameters="{class: III, max: 15 kg, e: 5 g, d: 5 g}", relative=False, sigma=0.0008,
        resolution=0.0001, digits=4, mpe=0.010, loads=((0.0, ""), (5.0, ""), (10.0, "")),
        points=(("0 kg", 0.0), ("5 kg", 0.0012), ("10 kg", 0.0020)), U=0.00005, reference_u=0.00005,
        level=6.0, spread=3.0,
    )  # fmt: skip


def _truck(n: int, place: str) -> Instrument:
    return Instrument(
        device=f"truck-{n:02d}", name=f"Cân ô tô {place}", kind="weighing", channel="mass", unit="kg",
        rule_pack="oiml-r76", parameters="{class: III, max: 80 t, e: 20 kg, d: 20 kg}", relative=False, sigma=4.0,
        resolution=1.0, digits=0, mpe=40.0, loads=((20000.0, ""), (40000.0, "")),
        points=(("20 t", 4.0), ("40 t", 6.0)), U=0.25, reference_u=0.2, level=25000.0, spread=9000.0,
    )  # fmt: skip


def _electricity(n: int, place: str) -> Instrument:
    return Instrument(
        device=f"emeter-{n:02d}", name=f"Công tơ {place}", kind="electricity", channel="active_energy", unit="kWh",
        rule_pack="iec-62053-21", parameters="{class: 1, Ib: 10 A, Imax: 60 A, connection: direct}", relative=True,
        sigma=0.05, resolution=0.0001, digits=4, mpe=1.0,
        loads=((1.0, '"current_A":10,"power_factor":"1"'), (2.0, '"current_A":40,"power_factor":"1"')),
        points=(("5 A", 0.12), ("20 A", 0.20), ("60 A", 0.26)), U=0.003, reference_u=0.00002,
        wrong_unit="kW", type="run",
    )  # fmt: skip


def _water(n: int, place: str) -> Instrument:
    return Instrument(
        device=f"wmeter-{n:02d}", name=f"Đồng hồ nước {place}", kind="water", channel="volume", unit="m3",
        rule_pack="oiml-r49", parameters="{class: 2, Q3: 2.5 m3/h, R: 160, temperature_class: T30}", relative=True,
        sigma=0.15, resolution=0.00001, digits=5, mpe=2.0,
        loads=((0.1, '"flow_m3h":2.4'), (0.02, '"flow_m3h":0.1')),
        points=(("0.05 m3/h", 0.4), ("1 m3/h", -0.2), ("2.5 m3/h", 0.1)), U=0.01, reference_u=0.000001,
        wrong_unit="m3/h", type="run",
    )  # fmt: skip


def _gas(n: int, place: str) -> Instrument:
    return Instrument(
        device=f"gmeter-{n:02d}", name=f"Đồng hồ khí {place}", kind="gas", channel="volume", unit="m3",
        rule_pack="oiml-r137", parameters="{class: 1.5, Qmin: 0.04 m3/h, Qt: 0.6 m3/h, Qmax: 6 m3/h}", relative=True,
        sigma=0.12, resolution=0.00001, digits=5, mpe=3.0,
        loads=((0.2, '"flow_m3h":4'), (0.1, '"flow_m3h":2')),
        points=(("0.5 m3/h", 0.3), ("3 m3/h", 0.1), ("6 m3/h", -0.1)), U=0.008, reference_u=0.00001,
        wrong_unit="kg", type="run",
    )  # fmt: skip


def _fuel(n: int, place: str) -> Instrument:
    return Instrument(
        device=f"fuel-{n:02d}", name=f"Cột đo xăng dầu {place}", kind="fuel", channel="volume", unit="L",
        rule_pack="oiml-r117", parameters="{class: 0.5, MMQ: 5 L}", relative=True, sigma=0.03, resolution=0.001,
        digits=3, mpe=0.5, loads=((20.0, '"flow_m3h":2.1'), (20.0, '"flow_m3h":1.2')),
        points=(("1 m3/h", 0.06), ("2.4 m3/h", 0.04)), U=0.002, reference_u=0.0004, wrong_unit="kg", type="run",
    )  # fmt: skip


def _room(n: int, what: str, unit: str, level: float, spread: float) -> Instrument:
    return Instrument(
        device=f"room-{n:02d}", name=f"Phòng chuẩn {n}: {what}", kind="other", channel=what, unit=unit,
        rule_pack="none",
        parameters="{}", relative=False, sigma=spread, resolution=0.001, digits=3, mpe=0.0, level=level, spread=spread,
        per_day=4, wrong_unit="kg", stuck=6,
    )  # fmt: skip


_PLACES = (
    "chợ Văn Giang", "chợ Như Quỳnh", "chợ Phố Nối", "chợ Gạo", "chợ Đậu", "chợ Bần", "chợ Lạc Đạo", "chợ Ngọc Lịch",
    "chợ Thứa", "chợ Trương Xá", "chợ Đường Cái", "chợ Từ Hồ",
)  # fmt: skip


def _instruments() -> list[Instrument]:
    """Return the centre's instruments: 12 scales, a truck scale, meters, dispensers, and its own rooms."""
    found = [_scale(n, place) for n, place in enumerate(_PLACES, start=1)]
    found += [_truck(1, "Phố Nối"), _truck(2, "Yên Mỹ")]
    found += [_electricity(n, f"trạm {n}") for n in range(1, 7)]
    found += [_water(n, f"tổ {n}") for n in range(1, 6)]
    found += [_gas(n, f"khu {n}") for n in range(1, 3)]
    found += [_fuel(n, f"cửa hàng số {n}") for n in range(1, 4)]
    found += [_room(1, "temperature", "degC", 23.0, 0.4), _room(2, "temperature", "degC", 20.0, 0.2)]
    found += [_room(3, "voltage", "V", 220.0, 1.5), _room(4, "pressure", "kPa", 101.3, 0.5)]
    return found


def _inject(rng: random.Random, instruments: list[Instrument], start: int) -> tuple[Fault, ...]:
    """Choose another instrument for every kind of fault, its moment and its size."""
    checked = [i for i in instruments if i.is_checked]
    scales = [i for i in checked if i.kind == "weighing"]
    meters = [i for i in checked if i.relative]
    rooms = [i for i in instruments if not i.is_checked]
    pools = {"zero_shift": scales, "over_mpe": meters, "stuck": rooms}
    sizes = {
        "span_ramp": (5.0, 7.0), "zero_shift": (4.0, 6.0), "step": (4.0, 6.0), "noise": (4.0, 6.0), "stuck": (1.0, 1.0),
        "silence": (4.0, 8.0), "gap": (3.0, 8.0), "unit_error": (2.0, 4.0), "over_mpe": (1.3, 1.8),
    }  # fmt: skip
    taken: set[str] = set()
    faults = []
    for kind in KINDS:
        chosen = rng.choice([i for i in pools.get(kind, checked) if i.device not in taken])
        taken.add(chosen.device)
        day = rng.uniform(25.0, 70.0) if kind == "span_ramp" else rng.uniform(25.0, 95.0)
        size = rng.uniform(*sizes[kind])
        if kind in {"span_ramp", "zero_shift", "step"}:
            size *= rng.choice((-1.0, 1.0))
        if kind == "gap":
            size = round(size)
        at = start + int(day * DAY_NS)
        faults.append(Fault(device=chosen.device, channel=chosen.channel, kind=kind, injected_at=at, size=size))
    return tuple(sorted(faults, key=lambda f: f.injected_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Centre:
    """One simulated centre; `start` and `end` in ns."""

    seed: int
    site: str
    start: int
    end: int
    instruments: tuple[Instrument, ...]
    faults: tuple[Fault, ...]

    @classmethod
    def build(cls, seed: int, *, faults: bool = True) -> Centre:
        """Return the centre of a seed; without `faults` every instrument is honest."""
        rng = random.Random(seed)  # noqa: S311  a simulation
        instruments = _instruments()
        return cls(
            seed=seed,
            site="hung-yen",
            start=_START,
            end=_START + DAYS * DAY_NS,
            instruments=tuple(instruments),
            faults=_inject(rng, instruments, _START) if faults else (),
        )

    def registry_yaml(self) -> str:
        """Return the centre's registry as a person would write it (CONTRACTS §2)."""
        return (
            "devices:\n"
            + "".join(map(self._device, self.instruments))
            + "certificates:\n"
            + "".join(self._certificate(i) for i in self.instruments if i.is_checked)
        )

    def _device(self, i: Instrument) -> str:
        error_unit = "%" if i.relative else i.unit
        channel = f"unit: {i.unit}, type: {i.type}, resolution: {i.resolution:.5f} {i.unit}, timeout: 36h"
        if i.is_checked:
            channel += f", sigma: {i.sigma:g} {error_unit}, every: {24 // len(i.loads)}h"
        if i.stuck is not None:
            channel += f", stuck: {i.stuck}"
        return (
            f'  - id: {i.device}\n    kind: {i.kind}\n    site: {self.site}\n    name: "{i.name}"\n'
            f"    rule_pack: {i.rule_pack}\n"
            + (f"    parameters: {i.parameters}\n" if i.rule_pack != "none" else "")
            + f"    channels:\n      {i.channel}: {{{channel}}}\n"
        )

    def _certificate(self, i: Instrument) -> str:
        unit = "%" if i.relative else i.unit
        points = ", ".join(f"{{x: {x}, error: {e:g} {unit}, U: {i.U:g} {unit}, k: 2}}" for x, e in i.points)
        day = datetime.fromtimestamp(self.start / 1e9 - 86_400 * 9, UTC).date()
        return (
            f"  - {{id: hc-{i.device}, device: {i.device}, channel: {i.channel}, performed_at: {day}, "
            f'interval_months: 12, laboratory: "Trung tâm Kỹ thuật TĐC", points: [{points}]}}\n'
        )

    def readings(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield (time in ns, topic, canonical JSON) of every message, in time order."""
        found: list[tuple[int, str, bytes]] = []
        for number, instrument in enumerate(self.instruments):
            rng = random.Random(f"{self.seed}/{number}")  # noqa: S311  a simulation
            found += self._life(instrument, rng)
        return iter(sorted(found, key=lambda message: message[0]))

    def _life(self, i: Instrument, rng: random.Random) -> Iterator[tuple[int, str, bytes]]:
        faults = tuple(f for f in self.faults if f.device == i.device and f.channel == i.channel)
        offset = rng.gauss(0.0, i.U / 2.0)
        topic = f"metergate/reading/{self.site}/{i.device}/{i.channel}"
        frozen: float | None = None
        since = min((f.injected_at for f in faults), default=0)
        seq = count = 0
        for at, reference, conditions in self._moments(i, rng):
            signal = signal_at(faults, at, count)
            count += bool(faults) and at >= since
            seq += 1
            value = _value(i, rng, reference, conditions, offset, signal)
            if signal.stuck:
                frozen = value = value if frozen is None else frozen
            if signal.lost:
                continue
            unit = i.wrong_unit if signal.wrong_unit else i.unit
            body = f'{{"ts":{at // 1_000_000},"value":{value:.{i.digits}f},"unit":"{unit}","seq":{seq},"boot":"a1"'
            if reference is not None:
                body += f',"reference":{reference:g},"reference_u":{i.reference_u:g}'
            yield at, topic, (body + ("," + conditions if conditions else "") + "}").encode()

    def _moments(self, i: Instrument, rng: random.Random) -> Iterator[tuple[int, float | None, str]]:
        """Yield when something is measured in order: the day's checks in the morning, other readings later."""
        for day in range(DAYS):
            dawn = self.start + day * DAY_NS
            at = dawn + 7 * HOUR_NS + int(rng.uniform(0, HOUR_NS))
            for reference, conditions in i.loads:
                at += int(rng.uniform(60, 240) * 1e9)
                yield at // 1_000_000 * 1_000_000, reference, conditions
            if i.level:
                first = 9.0 if i.loads else 0.0
                step = (23.0 - first) / i.per_day
                times = [first + step * (n + rng.random()) for n in range(i.per_day)]
                for hour in times:
                    yield (dawn + int(hour * HOUR_NS)) // 1_000_000 * 1_000_000, None, ""


def _value(
    i: Instrument,
    rng: random.Random,
    reference: float | None,
    conditions: str,
    offset: float,
    signal: Signal,
) -> float:
    """Return the indication: truth plus certified error, offset, faults and noise, rounded as the instrument rounds."""
    if reference is None:
        value = rng.gauss(i.level, i.spread)
        return round(value / i.resolution) * i.resolution
    share = 1.0 if i.relative else reference / max(load for load, _ in i.loads)
    shift = signal.shift_sigma + signal.span_sigma * share
    error = _certified(i, reference, conditions) + offset + shift * i.sigma + signal.over_mpe * i.mpe
    error += rng.gauss(0.0, i.sigma * signal.noise)
    value = reference * (1.0 + error / 100.0) if i.relative else reference + error
    return round(value / i.resolution) * i.resolution


def _certified(i: Instrument, reference: float, conditions: str) -> float:
    """Return the certificate's error where the instrument is checked, between its points in a straight line."""
    x = reference
    for part in conditions.split(","):
        if part.startswith(('"flow_m3h"', '"current_A"')):
            x = float(part.split(":")[1])
    known = [(_number(text), error) for text, error in i.points]
    for (x1, e1), (x2, e2) in pairwise(known):
        if x1 <= x <= x2:
            return e1 + (e2 - e1) * (x - x1) / (x2 - x1)
    raise ValueError(f"{i.device} is checked at {x}, outside its certificate")


def _number(text: str) -> float:
    number, unit = text.split()
    return float(number) * (1000.0 if unit == "t" else 1.0)
