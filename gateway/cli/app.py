"""The application: finds the commands, and turns every error a person can meet into one line and an exit code."""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gateway
from gateway.cli import commands
from gateway.errors import MetergateError

if TYPE_CHECKING:
    import typer

__all__ = ["build", "main"]

COLLECT = (50_000, 20, 20)
"""When the collector looks for cycles: what commands load and read is kept, and holds none; looking cost a sixth."""


def _version(value: bool) -> None:
    import typer

    if value:
        sys.stdout.write(f"metergate {gateway.__version__}\n")
        raise typer.Exit


def build(arguments: Sequence[str] = ()) -> typer.Typer:
    """Return the application with the command that `arguments` begin with; with every one if they begin with none.

    The commands are the modules of `gateway.cli.commands`, a keyword with `_` behind it; each has `register(app)`.
    Reading one and not all of them is most of the start-up time.
    """
    import typer

    app = typer.Typer(
        name="metergate",
        help="Continuous verification for networked measuring instruments.",
        epilog="Example: metergate demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    ) -> None:
        """Continuous verification for networked measuring instruments."""

    for module in _wanted(arguments):
        importlib.import_module(f"{commands.__name__}.{module}").register(app)
    return app


def _wanted(arguments: Sequence[str]) -> list[str]:
    modules = sorted(m.name for m in pkgutil.iter_modules(commands.__path__))
    named = arguments[0].replace("-", "_") if arguments else ""
    return [m for m in modules if m.rstrip("_") == named] or modules


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 fine, 1 a finding or refusal, 2 wrong use or unreadable input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(*COLLECT)
    try:
        if arguments == ["--version"]:
            sys.stdout.write(f"metergate {gateway.__version__}\n")
            raise SystemExit(0)
        build(arguments)(args=arguments, prog_name="metergate")
    except MetergateError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        sys.stderr.write(f"cannot use{place}: {error.strerror or error}; check the path and its permissions\n")
        raise SystemExit(2) from None
