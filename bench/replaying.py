"""How fast `metergate replay` judges a recorded file with verdicts and all charts, as a user runs it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from bench.load import Load, registry_yaml
from gateway.metrology.instants import format_instant

__all__ = ["measure"]

DEVICES = 200


def measure(folder: Path, *, checks: int) -> float:
    """Return checks a second by the command's own summary: reading, judging and writing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "registry.yaml").write_text(registry_yaml(Load(devices=DEVICES)))
    rng = random.Random(1)
    with (folder / "checks.csv").open("w") as out:
        out.write("time,device,channel,value,unit,reference,reference_u,seq,boot\n")
        for i in range(checks):
            moment = format_instant((1_767_225_600 + i // DEVICES * 3600) * 10**9)
            value = 5.0 + rng.gauss(0, 0.0016)
            out.write(f"{moment},scale-{i % DEVICES:05d},mass,{value:.4f},kg,5,0.0002,{i // DEVICES},b1\n")
    command = [sys.executable, "-m", "gateway", "replay", str(folder / "checks.csv"), "--registry",
               str(folder / "registry.yaml"), "--out", str(folder / "out"), "--json"]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True)
    said = json.loads(done.stdout)
    return float(said["checks"] / said["elapsed_s"])
