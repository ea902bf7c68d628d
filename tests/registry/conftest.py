from __future__ import annotations

from textwrap import dedent
from zoneinfo import ZoneInfo

import pytest

from gateway.errors import Mistakes
from gateway.metrology.rulepacks import RulePacks
from gateway.registry.build import build
from gateway.registry.model import Registry
from gateway.registry.specs import Specs
from gateway.registry.texts import parse_registry

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")


def specs(text: str, file: str = "devices.yaml") -> Specs:
    return parse_registry(dedent(text), file)


def registry(text: str, *, known: Specs | None = None) -> Registry:
    return build(specs(text), zone=ZONE, packs=RulePacks(), known=known)


def mistakes(text: str, *, known: Specs | None = None) -> list[str]:
    with pytest.raises(Mistakes) as caught:
        registry(text, known=known)
    return str(caught.value).splitlines()
