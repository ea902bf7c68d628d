"""Files with secrets in them: only their owner should read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.doctor import Finding, Site, fine, warning

__all__ = ["check"]


def check(site: Site) -> Iterator[Finding]:
    """Look at who may read the files with passwords, tokens and keys that the settings name."""
    broker, influx = site.settings.broker, site.settings.influx
    named = [broker.password_file, broker.key_file]
    if influx is not None:
        named += [influx.token_file, influx.query_token_file]
    files: list[Path] = [f for f in named if f is not None and f.is_file()]
    for file in files:
        mode = file.stat().st_mode & 0o777
        if mode & 0o077:
            yield warning(f"{file} can be read by others (mode {mode:o})", f"chmod 600 {file}")
    if files and not any(f.stat().st_mode & 0o077 for f in files):
        yield fine(f"{len(files)} files with secrets are readable by their owner alone")
