"""`metergate replay` on a registry and rows written as text, for tests that read only what files say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

__all__ = ["VERDICT_KEYS", "Replayed", "replay_files"]

VERDICT_KEYS = tuple(
    """
    id time device channel seq boot indication reference reference_u unit x conditions standard evidence zero_error
    error error_unit error_percent U k mpe margin margin_percent decision_rule conformity p_conforming baseline
    baseline_error baseline_U en residual sigma sigma_source center z detectors rule_pack settings software segment
    supersedes flags
    """.split()  # noqa: SIM905  as the contract writes them
)
"""CONTRACTS §4, word for word and in its order."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The three files of one replay, as parsed."""

    verdicts: list[dict[str, Any]]
    alarms: list[dict[str, Any]]
    summary: dict[str, Any]


def _strict(text: str) -> Any:
    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def replay_files(
    folder: Path, registry: str, rows: Sequence[Mapping[str, object]], *, name: str = "readings.ndjson"
) -> Replayed:
    """Replay rows (NDJSON objects) against a registry and return what was written, checked to be strict JSON."""
    (folder / "registry.yaml").write_text(registry, encoding="utf-8")
    (folder / name).write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    out = folder / "out"
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(folder / name), "--registry", str(folder / "registry.yaml"), "--out", str(out)])
    assert ended.value.code in {0, None}
    lines = {n: (out / n).read_text(encoding="utf-8").splitlines() for n in ("verdicts.ndjson", "alarms.ndjson")}
    return Replayed(
        verdicts=[_strict(line) for line in lines["verdicts.ndjson"]],
        alarms=[_strict(line) for line in lines["alarms.ndjson"]],
        summary=_strict((out / "summary.json").read_text(encoding="utf-8")),
    )
