"""kill -9 in the middle of a deletion: nothing is half deleted or hidden that was not to go, and counters balance."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import gateway
from gateway.history.rolling import catch_up
from gateway.ledger import retention
from gateway.ledger.states import counters
from gateway.verifying import verify_verdicts
from tests.ledger.retained import DAY, SETTINGS, START, Site, life, plan

END = START + 150 * DAY
CYCLES = 12
ROOT = Path(gateway.__file__).parents[1]
DELETE = """
import sys
from pathlib import Path
from gateway.ledger import retention
from tests.ledger.retained import DAY, START, Site
retention.CHUNK = 20
site = Site(Path(sys.argv[1]))
site.keeper.begin(site.ingest, START + 150 * DAY)
print("step", flush=True)
while site.keeper.step(site.ingest, START + 150 * DAY):
    print("step", flush=True)
print("done", flush=True)
"""


def test_killed_again_and_again_it_deletes_exactly_what_was_due(tmp_path: Path) -> None:
    chance = random.Random(5)
    folder = tmp_path / "killed"
    undisturbed, killed = Site(tmp_path / "undisturbed"), Site(folder)
    everything = life(2)
    for site in (undisturbed, killed):
        for start in range(0, len(everything), 300):
            site.put(everything[start : start + 300])
        catch_up(site.ledger, END)
    days = {key: killed.buckets(*key, "1d") for key in SETTINGS}
    killed.close()
    undisturbed.retain(END)
    cut_short = 0
    for _ in range(CYCLES):
        cut_short += _killed_while_deleting(folder, chance.randrange(1, 8), chance.uniform(0.0, 0.005))
        site = Site(folder)
        assert {key: site.buckets(*key, "1d") for key in SETTINGS} == days
        assert verify_verdicts(site.ledger.connection, plan(), lambda _at: plan()).sound
        counted = counters(site.ledger.connection)
        assert counted["received"] == counted["stored"] + counted["duplicate"] + counted["quarantined"]
        for device, channel in SETTINGS:
            horizon = site.horizon(device, channel)
            assert horizon <= undisturbed.horizon(device, channel)
            left = "SELECT COUNT(*) FROM reading r JOIN channel c ON c.id = r.channel WHERE c.device = ? AND c.channel = ? AND r.time >= ?"  # noqa: E501
            there = [r for r in everything if (r.device, r.channel) == (device, channel) and r.time >= horizon]
            assert site.rows(left, device, channel, horizon) == [(len(there),)]
        site.close()
    assert cut_short > CYCLES // 3
    last = Site(folder)
    last.retain(END)
    for sql in ("SELECT * FROM horizon ORDER BY channel", "SELECT channel, time, value FROM reading ORDER BY 1, 2, 3"):
        assert last.rows(sql) == undisturbed.rows(sql)
    assert last.verdicts() == undisturbed.verdicts()
    runs, whole = (retention.deletions(site.ledger.connection) for site in (last, undisturbed))
    assert [sum(getattr(r, n) for r in runs) for n in ("readings", "verdicts")] == [
        whole[0].readings,
        whole[0].verdicts,
    ]
    last.close()
    undisturbed.close()


def _killed_while_deleting(folder: Path, steps: int, after_s: float) -> bool:
    """Start deleting and kill it so long after so many steps; return whether it was not done."""
    with subprocess.Popen(
        [sys.executable, "-c", DELETE, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for _ in range(steps):
            said += process.stdout.readline()
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        return "done" not in said + process.stdout.read()
