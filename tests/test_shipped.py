"""Shipped data is found wherever the program lives."""

from __future__ import annotations

import pytest

from gateway.errors import WrongUse
from gateway.shipped import shipped_texts


def test_the_rule_packs_are_found_by_name() -> None:
    names = [name for name, text in shipped_texts("rulepacks") if text]
    assert names == sorted(names)
    assert "oiml-r76.yaml" in names


def test_a_lost_folder_is_said_with_the_remedy() -> None:
    with pytest.raises(WrongUse, match=r"shipped nothing are missing; install metergate again"):
        shipped_texts("nothing")
