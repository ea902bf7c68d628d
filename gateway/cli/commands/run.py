"""`metergate run`: the gateway service."""

from __future__ import annotations

import typer

from gateway.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", epilog="Example: metergate run --config config/gateway.yaml")(run)


def run(config: ConfigOption = None) -> None:
    """Run the gateway until SIGTERM or SIGINT: it finishes the batch in hand and exits 0."""
    import asyncio
    import logging

    from gateway.running import run_gateway

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    asyncio.run(run_gateway(config))
