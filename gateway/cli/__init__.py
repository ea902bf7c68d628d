"""The command `metergate`: one file per command, found by walking `gateway.cli.commands`."""

from gateway.cli.app import main

__all__ = ["main"]
