"""The gateway: does one run on the data folder, and what does it say of itself."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path

from gateway.doctor import Finding, Site, fine, problem, warning

__all__ = ["check", "is_running"]

DEADLINE_S = 3.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  where to ask, not where to listen


def check(site: Site) -> Iterator[Finding]:
    """Ask the lock of the data folder, then the gateway itself."""
    folder = site.settings.data_dir
    if not is_running(folder):
        yield warning(
            f"no gateway runs on {folder}; readings wait at the broker", "start it: `metergate run`, or see its log"
        )
        return
    api = site.settings.api
    try:
        status, detail = _readiness(_EVERYWHERE.get(api.host, api.host), api.port)
    except (OSError, http.client.HTTPException) as error:
        yield warning(
            f"a gateway runs on {folder} and does not answer on {api.listen} ({error})",
            "see whether another program has that port, or set api.listen",
        )
        return
    if status == 200:
        yield fine(f"a gateway runs on {folder} and takes readings")
    elif status == 503:
        yield problem(f"a gateway runs on {folder} and takes no readings: {detail}", "see the other findings")
    else:
        yield warning(f"something else than this gateway answers on {api.listen}", "set api.listen to a free address")


def is_running(data_dir: Path) -> bool:
    """Return whether a gateway holds the folder; a shared try, given back at once."""
    try:
        descriptor = os.open(data_dir / "gateway.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _readiness(host: str, port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(65536)
    finally:
        connection.close()
    try:
        document = json.loads(body)
    except ValueError:
        return 0, ""
    if not isinstance(document, dict) or "status" not in document:
        return 0, ""
    return answer.status, str(document.get("detail", ""))
