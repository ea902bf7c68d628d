"""What the README shows is what the program says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def written(name: str) -> str:
    """Return the file that the README has a reader write."""
    found = re.search(rf"cat > {re.escape(name)} <<'EOF'\n(.*?)^EOF$", README, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    return found[1]


def test_the_verdict_in_the_readme_is_that_of_its_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scale-07.yaml").write_text(written("config/devices/scale-07.yaml"), encoding="utf-8")
    Path("march.csv").write_text(written("march.csv"), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["replay", "march.csv", "--registry", "scale-07.yaml", "--out", "march"])
    assert not ended.value.code
    said = json.loads(Path("march/verdicts.ndjson").read_text().splitlines()[2])
    block = re.search(r"^```\n(\{\n  \"id\".*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert block is not None
    shown = json.loads(block[1])
    assert shown == {k: v for k, v in said.items() if v not in (None, {}, [])}
