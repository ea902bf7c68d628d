"""A name that nothing has is wrong use, not an empty answer."""

from __future__ import annotations

import pytest

from tests.cli.support import Site


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (("alarms", "list", "--device", "scale-7"), "did you mean scale-07"),
        (("certificates", "list", "--device", "scale-7"), "did you mean scale-07"),
        (("certificates", "compare", "--device", "nosuch"), "metergate devices list"),
        (("quarantine", "list", "--state", "closed"), "open, approved, released, rejected, all"),
        (("quarantine", "list", "--reason", "nonsense"), "sequence_conflict"),
    ],
)
def test_a_list_of_what_is_not_there_is_wrong_use(site: Site, command: tuple[str, ...], remedy: str) -> None:
    site.apply()
    refused = site.do(*command, code=2)
    assert remedy in refused.err
    assert refused.err.count("\n") == 1
    assert refused.out == ""


def test_what_is_there_and_has_nothing_is_an_empty_list(site: Site) -> None:
    site.apply()
    for command in ("alarms", "certificates"):
        assert site.do(command, "list", "--device", "meter-01", "--json").document() == []
    assert site.do("quarantine", "list", "--reason", "not_json", "--state", "all", "--json").document() == []
