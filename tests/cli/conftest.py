"""A site per test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import Site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    for name in ("METERGATE_SITE", "METERGATE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Site(tmp_path, capsys)
