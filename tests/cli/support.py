"""A site in a folder of its own, driven through the command `metergate` as a person drives it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

HEADER = "time,device,channel,value,unit,reference,reference_u,seq,boot"
DEVICES = """\
devices:
  - id: scale-07
    kind: weighing
    site: van-giang
    rule_pack: oiml-r76
    parameters: {class: III, max: 15 kg, e: 5 g, d: 1 g}
    in_service: true
    channels:
      mass: {unit: kg, sigma: 1.6 g, timeout: 36h, range: [0 kg, 15.05 kg]}
  - id: meter-01
    kind: electricity
    site: van-giang
    rule_pack: none
    channels:
      active_energy: {unit: kWh, type: register}
"""
CERTIFICATES = """\
certificates:
  - {id: "3681-26", device: scale-07, channel: mass, kind: calibration, phase: as_left, performed_at: 2026-03-02,
     interval_months: 12, points: [{x: 5 kg, error: 1.2 g, U: 0.2 g, k: 2}, {x: 10 kg, error: 2.0 g, U: 0.2 g, k: 2}]}
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What one command said."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """Return the one JSON document on stdout; fails if there is anything else."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """Return the objects on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Site:
    """A working directory with registry files and recordings; `do` runs a command in it."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capture = capture
        self.write("devices.yaml", DEVICES)
        self.write("certificates.yaml", CERTIFICATES)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the site."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def recording(self, name: str, rows: Iterable[str]) -> str:
        """Write a CSV of these rows and return its name."""
        self.write(name, "\n".join([HEADER, *rows, ""]))
        return name

    def do(self, *arguments: str, code: int = 0) -> Result:
        """Run `metergate ARGUMENTS` and check its exit code; a traceback is never right."""
        result = self.run(*arguments)
        assert result.code == code, f"exit {result.code}\n{result.out}\n{result.err}"
        return result

    def run(self, *arguments: str) -> Result:
        """Run `metergate ARGUMENTS`, whatever it exits with; a traceback is never right."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = self._capture.readouterr()
        got = ended.value.code
        assert "Traceback" not in err
        return Result(0 if got is None else int(got), out, err)

    def apply(self) -> None:
        """Apply the devices and the certificate."""
        self.do("apply", "devices.yaml", "certificates.yaml")

    def files(self, folder: str) -> dict[str, bytes]:
        """Return the files of a folder by name."""
        return {p.name: p.read_bytes() for p in sorted((self.folder / folder).iterdir())}


def check(day: int, value: float, seq: int, *, device: str = "scale-07", boot: str = "b1") -> str:
    """Return a row: a check against 5 kg at 08:00 in Vietnam, `day` days after 30 April 2026."""
    month, rest = (5, day) if day <= 31 else (6, day - 31)
    return f"2026-{month:02}-{rest:02}T08:00:00+07:00,{device},mass,{value},kg,5,0.0001,{seq},{boot}"


def steady(days: Sequence[int]) -> list[str]:
    """Return checks of a scale that agrees with its certificate, some milligrams about it."""
    wobble = (0.0, 0.0008, -0.0011, 0.0004, -0.0003, 0.0012, -0.0007)
    return [check(day, round(5.0012 + wobble[day % len(wobble)], 4), day) for day in days]
