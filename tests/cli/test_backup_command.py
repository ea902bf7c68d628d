"""`metergate backup` and `metergate restore`."""

from __future__ import annotations

from pathlib import Path

from gateway.ledger.store import hold
from tests.cli.support import Site, steady


def test_a_history_comes_back_as_it_was(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("may.csv", steady(range(1, 20))))
    before = site.do("history", "scale-07", "--json").document()
    copy = site.do("backup", "copy.sqlite", "--json").document()
    assert copy["readings"] == 19
    assert copy["verified"] is True
    site.do("import", site.recording("june.csv", steady(range(20, 30))))
    assert site.do("history", "scale-07", "--json").document() != before
    said = site.do("restore", "copy.sqlite", "--json").document()
    assert site.do("history", "scale-07", "--json").document() == before
    assert Path(said["before"]).is_file()
    assert site.do("import", "june.csv").code == 0
    assert len(site.do("history", "scale-07", "--json").document()) > len(before)


def test_a_copy_into_a_folder_is_named_after_site_and_time(site: Site) -> None:
    site.apply()
    (site.folder / "usb").mkdir()
    said = site.do("backup", "usb").out
    (file,) = (site.folder / "usb").iterdir()
    assert file.name.startswith("van-giang-20")
    assert file.suffix == ".sqlite"
    assert str(file.relative_to(site.folder)) in said


def test_no_ledger_is_wrong_use_and_a_copy_that_is_there_a_refusal(site: Site) -> None:
    assert "no ledger in var" in site.do("backup", "copy.sqlite", code=2).err
    site.apply()
    site.do("backup", "copy.sqlite")
    assert "is there already" in site.do("backup", "copy.sqlite", code=1).err
    assert "there is no file" in site.do("restore", "nothing.sqlite", code=2).err


def test_a_running_gateway_is_not_robbed_of_its_ledger(site: Site) -> None:
    site.apply()
    site.do("backup", "copy.sqlite")
    with hold(site.folder / "var"):
        said = site.do("restore", "copy.sqlite", code=1).err
        assert "another gateway runs" in said
        assert "stop it first" in said
        assert "stop it first" in site.do("import", site.recording("r.csv", steady([1])), code=1).err
