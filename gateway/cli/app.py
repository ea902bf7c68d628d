"""The application: finds the commands, and turns every error a person can meet into one line and an exit code."""

from __future__ import annotations

import codecs
import contextlib
import errno
import gc
import importlib
import io
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    _prepare_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(*COLLECT)
    try:
        with _ending_quietly() if arguments[:1] == ["run"] else contextlib.nullcontext():
            code = _run(arguments)
        sys.stdout.flush()
    except MetergateError as error:
        code = _say(str(error), error.exit_code)
    except BrokenPipeError:
        code = _nobody_reads()
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        code = _say(f"cannot use{place}: {error.strerror or error}; {_remedy(error)}", 2)
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        code = _say(_unforeseen(error), 2)
    raise SystemExit(code)


def _run(arguments: list[str]) -> int:
    """Run one command and return its exit code; wrong use of the command line is told in one line too."""
    if _asks_for_version(arguments):
        sys.stdout.write(f"metergate {gateway.__version__}\n")
        return 0
    try:
        ended = build(arguments)(args=arguments, prog_name="metergate", standalone_mode=False)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer ends with 1, which would be a finding
            raise end.__context__ from None
        return end.code if isinstance(end.code, int) else 0
    except MetergateError:
        raise
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _say(_wrong_call(error), 2)
    return ended if isinstance(ended, int) else 0


@contextlib.contextmanager
def _ending_quietly() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the service with 0 while it is still being loaded and has nothing in hand."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: os._exit(0)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _asks_for_version(arguments: Sequence[str]) -> bool:
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--version" in before


def _wrong_call(error: Any) -> str:
    """Return what the command line lacks in one line; the whole help where a group was called alone."""
    said: str = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None or said == context.get_help():
        return said
    said = " ".join(said.split()).rstrip(".")
    return f"{said[0].lower()}{said[1:]}; see `{context.command_path} --help`"


def _say(line: str, code: int) -> int:
    """Write a line to stderr, where anybody reads it, and return the exit code."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    return code


def _nobody_reads() -> int:
    """Let nothing more be written to a pipe whose reader, such as `head`, has gone: it has what it wanted."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _remedy(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "make room on the disk"
    return "check the path and its permissions"


def _unforeseen(error: Exception) -> str:
    """Return a line for an error that no command has foreseen: the ledger's own, or a defect of ours."""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if type(error).__module__ == "sqlite3":
        remedy = "make room on the disk" if "full" in str(error) else "see what `metergate doctor` says"
        return f"cannot use the ledger: {error}; {remedy}"
    return f"metergate itself failed: {what}; please report it with what PYTHONDEVMODE=1 shows"


def _prepare_streams() -> None:
    """Give every stream that was closed a place to go, and let no character be one that cannot be written.

    A character that the terminal's encoding lacks is written as JSON escapes it, so that JSON stays JSON.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    codecs.register_error("json-escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="json-escape")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end
