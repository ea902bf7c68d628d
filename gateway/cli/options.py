"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ByOption", "ConfigOption"]

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings file; default config/gateway.yaml if it is there.")
]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does this; default the user who runs the command.")]
