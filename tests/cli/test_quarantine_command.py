"""`metergate quarantine`: what was refused is kept, and goes through once its cause is gone."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app import make_router, plan_from, rule_packs, settings_of
from gateway.ledger.store import Ledger
from gateway.runtime.ingest import Batch, Ingest
from tests.cli.support import DEVICES, Site, check, steady

TOPIC = "metergate/reading/van-giang/scale-99/mass"
PAYLOAD = b'{"ts":1777600000000,"value":5.001,"unit":"kg","seq":1,"boot":"b1"}'
NEW_DEVICE = DEVICES.replace("scale-07", "scale-99").replace("meter-01", "meter-99")


def receive(site: Site, topic: str, payload: bytes) -> None:
    """Take one MQTT message in as the gateway does."""
    settings = settings_of(None)
    packs = rule_packs(None, settings)
    at = 1_777_600_001 * 10**9
    found = make_router(None, settings).decode(topic, payload, 0, at)
    with Ledger.open(settings.data_dir) as ledger:
        ingest = Ingest(ledger, plan_from(ledger, settings, packs), settings.lateness)
        ingest.process(
            Batch(
                readings=found.readings, refused=found.refused, received_at=[at], topic=[topic], payload=[payload],
                at=at,
            )
        )  # fmt: skip


def inbox(site: Site, state: str = "open") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.do("quarantine", "list", "--state", state, "--json").document()
    return found


@pytest.fixture
def refused(site: Site) -> Site:
    site.write("config/gateway.yaml", "site: van-giang\n")
    site.apply()
    receive(site, TOPIC, PAYLOAD)
    return site


def test_a_refused_message_is_kept_with_its_reason_and_bytes(refused: Site) -> None:
    assert [(e["reason"], e["topic"], e["payload"]) for e in inbox(refused)] == [
        ("unknown_device", TOPIC, PAYLOAD.decode())
    ]
    shown = refused.do("quarantine", "show", "1", "--json").document()
    assert shown == inbox(refused)[0]
    assert inbox(refused, "released") == []


def test_approved_after_apply_the_reading_is_released(refused: Site) -> None:
    refused.write("new.yaml", NEW_DEVICE)
    refused.do("apply", "new.yaml")
    refused.do("quarantine", "approve", "1")
    assert inbox(refused) == []
    assert [e["entry"] for e in inbox(refused, "released")] == [1]
    rows = refused.do("history", "scale-99", "--json").document()
    assert [(r["value"], r["seq"]) for r in rows] == [(5.001, 1)]
    assert refused.do("quarantine", "approve", "1", code=1).out == ""


def test_approved_while_the_cause_stands_it_stays_in_the_inbox(refused: Site) -> None:
    said = refused.do("quarantine", "approve", "1", code=1)
    assert "unknown_device" in said.out
    assert [e["state"] for e in inbox(refused)] == ["open"]


def test_rejected_it_is_kept_and_stays_out(refused: Site) -> None:
    refused.do("quarantine", "reject", "1", "--by", "Lan")
    assert inbox(refused) == []
    assert [e["payload"] for e in inbox(refused, "rejected")] == [PAYLOAD.decode()]
    assert "rejected already" in refused.do("quarantine", "approve", "1", code=1).err


def test_a_row_of_a_file_is_released_too(refused: Site) -> None:
    refused.do("import", refused.recording("r.csv", [*steady(range(1, 3)), check(3, 5.002, 3, device="scale-99")]))
    refused.write("new.yaml", NEW_DEVICE)
    refused.do("apply", "new.yaml")
    refused.do("quarantine", "approve", "2")
    rows = refused.do("history", "scale-99", "--json").document()
    assert [(r["value"], r["reference"], r["seq"]) for r in rows] == [(5.002, 5.0, 3)]
    assert rows[0]["time"] == "2026-05-03T01:00:00Z"


def test_the_list_can_be_cut_down_by_reason(refused: Site) -> None:
    receive(refused, TOPIC, b"\xff\xfe")
    reasons = refused.do("quarantine", "list", "--reason", "not_utf8", "--json").document()
    assert [e["reason"] for e in reasons] == ["not_utf8"]
    assert len(inbox(refused)) == 2


def test_control_characters_of_a_payload_do_not_reach_the_terminal(refused: Site) -> None:
    receive(refused, TOPIC, b'{"ts":1,"value":"\x1b[31m","unit":"\x1b[31m","\x1b[2J":1}')
    for arguments in (("show", "2"), ("list",)):
        assert "\x1b" not in refused.do("quarantine", *arguments).out


@pytest.mark.parametrize("command", ["show", "approve", "reject"])
def test_an_unknown_entry_is_exit_two(refused: Site, command: str) -> None:
    said = refused.do("quarantine", command, "77", code=2)
    assert "77" in said.err
    assert said.out == ""
