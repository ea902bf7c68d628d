"""Every command: an example in its help, and results as one JSON document where it has any (CONTRACTS §1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from gateway.cli.app import build
from tests.cli.support import Site, check, steady

INFLUX = "influx: {url: http://127.0.0.1:9, token: t}\nledger: {retention: {raw: 1095d}}\n"
SERVICES = {"run"}
"""These have no results: they run until they are stopped."""


def commands(at: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command below `at` by its words."""
    if not hasattr(at, "commands"):
        yield " ".join(path), at
        return
    for name, one in sorted(at.commands.items()):
        yield from commands(one, (*path, name))


ALL = dict(commands(typer.main.get_command(build())))


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_an_example_and_speaks_json(name: str) -> None:
    assert (ALL[name].epilog or "").startswith("Example: ")
    assert f"metergate {name}" in ALL[name].epilog
    assert ("--json" in [o for p in ALL[name].params for o in p.opts]) == (name not in SERVICES)


def test_settings_are_one_document_with_and_without_the_option(site: Site) -> None:
    assert site.do("config", "show", "--json").document() == site.do("config", "show").document()


def test_sending_again_says_where_to_and_how_much(site: Site) -> None:
    site.write("config/gateway.yaml", INFLUX)
    site.apply()
    site.do("import", site.recording("r.csv", steady(range(1, 9))))
    said = site.do("influx", "resend", "--json").document()
    assert said == {"target": "http://127.0.0.1:9 metergate/metergate", "readings": 8}
    assert "8 readings" in site.do("influx", "resend").out


ASKED = [
    "config check", "config show", "alarms list", "devices list", "devices show scale-07", "certificates list",
    "certificates compare", "certificates read certificates.yaml", "quarantine list", "retention log",
    "retention run --dry-run", "history scale-07", "rule-packs list", "rule-packs show oiml-r76", "verify verdicts",
    "verify certificates", "drift design", "drift interval --method drift --mpe 1 --error 0.2 --U 0.1 --rate 0.02",
    "drift arl --chart shewhart --L 3", "backup copies", "apply devices.yaml", "import r.csv", "replay r.csv",
    "doctor ledger", "influx resend",
]  # fmt: skip


@pytest.mark.parametrize("words", ASKED)
def test_the_document_is_all_there_is_on_stdout(site: Site, words: str) -> None:
    site.write("config/gateway.yaml", INFLUX)
    site.apply()
    site.do("import", site.recording("r.csv", [check(1, 5.001, 1), check(2, 5.002, 2)]))
    said = site.run(*words.split(), "--json")
    assert said.code in {0, 1}, said.err
    said.document()
