"""`metergate config`: what the configuration says, and every mistake in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gateway.cli.console import JsonFlag, note, write, write_json
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from collectors.decoders import Profile
    from gateway.errors import Mistake
    from gateway.metrology.rulepacks import RulePacks
    from gateway.settings import Settings

T = TypeVar("T")

Paths = Annotated[
    list[Path] | None,
    typer.Argument(help="Registry files or folders; default the folder devices beside the settings file."),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="Check the configuration and show what holds.")
    app.add_typer(group, name="config", epilog="Example: metergate config check")
    group.command("check", epilog="Example: metergate config check --config config/gateway.yaml config/devices")(check)
    group.command("show", epilog="Example: METERGATE_SITE=hung-yen metergate config show")(show)


def check(paths: Paths = None, config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Check settings, rule packs, profiles and registry files: every mistake at once with file, line and key.

    Exit 0: all of it is sound. 2: mistakes, listed on stderr.
    """
    import os

    from gateway.settings import unread_variables

    for variable in unread_variables(os.environ):
        note(f"note: the variable {variable} is no setting and was not read")
    checked = _Checked()
    settings = checked.settings(config)
    packs, profiles = checked.rule_packs(config, settings), checked.profiles(config)
    checked.topics(config, settings, profiles)
    counts = checked.registry(config, settings, packs, paths)
    for words in _unreadable_secrets(settings):
        note(f"note: {words}")
    if checked.mistakes:
        checked.report(json=json)
        raise typer.Exit(2)
    sizes = {
        "rule_packs": len({p.id for p in packs or ()}),
        "profiles": len(profiles or ()),
        **counts,
    }
    if json:
        write_json({"sound": True, "settings": checked.settings_file, **sizes, "mistakes": []})
        return
    words = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in sizes.items())
    write(f"sound: {checked.settings_file}; {words}")


def show(config: ConfigOption = None, json: JsonFlag = False) -> None:  # noqa: ARG001  it has no other form
    """Print the settings that hold, file and environment together, secrets masked, as JSON with or without --json."""
    import os

    from gateway.settings import effective, load

    write_json(effective(load(config, os.environ)))


class _Checked:
    """What was checked so far, and its mistakes; each part is checked even where another is wrong."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.settings_file = "the default settings"

    def settings(self, config: Path | None) -> Settings | None:
        """Check the settings file and the environment."""
        import os

        from gateway.settings import DEFAULT_PATH, load

        if config is not None or DEFAULT_PATH.exists():
            self.settings_file = str(config or DEFAULT_PATH)
        return self._sound(lambda: load(config, os.environ))

    def rule_packs(self, config: Path | None, settings: Settings | None) -> RulePacks | None:
        """Check the site's rule packs and intervals of verification over the shipped ones."""
        from gateway.due import read_intervals
        from gateway.registry.files import read_rule_packs
        from gateway.settings import Settings, config_folder

        zone = (settings or Settings()).zone
        folder = config_folder(config) / "rulepacks"
        self._sound(lambda: read_intervals(folder / "intervals", zone))
        return self._sound(lambda: read_rule_packs(folder, zone))

    def profiles(self, config: Path | None) -> Mapping[str, Profile] | None:
        """Check the site's profiles over the shipped ones."""
        from collectors.profiles import read_profiles
        from gateway.settings import config_folder
        from gateway.shipped import shipped_texts

        return self._sound(lambda: read_profiles(shipped_texts("profiles"), [config_folder(config) / "profiles"]))

    def topics(self, config: Path | None, settings: Settings | None, profiles: Mapping[str, Profile] | None) -> None:
        """Check that every mapped topic names a profile."""
        import os

        from gateway.settings import mistake_at

        if settings is None or profiles is None:
            return
        for i, topic in enumerate(settings.topics):
            if topic.profile not in profiles:
                words = f"there is no profile {topic.profile}; there are {', '.join(sorted(profiles))}"
                self.mistakes.append(mistake_at(config, os.environ, ("topics", i, "profile"), words))

    def registry(
        self, config: Path | None, settings: Settings | None, packs: RulePacks | None, paths: list[Path] | None
    ) -> Mapping[str, int]:
        """Check the registry files; return how many devices, certificates and events they hold."""
        from gateway.app import remembered_dccs
        from gateway.registry.build import build
        from gateway.registry.files import read_registry, registry_files
        from gateway.registry.specs import Specs
        from gateway.runtime.clock import now_ns
        from gateway.settings import Settings, config_folder

        wanted = paths or [p for p in [config_folder(config) / "devices"] if _holds_registry(p)]
        files = registry_files(wanted) if wanted else []
        specs = read_registry(files, dcc=remembered_dccs(config, files)) if files else Specs()
        if packs is None:
            self.mistakes += specs.mistakes
        else:
            zone = (settings or Settings()).zone
            self._sound(lambda: build(specs, zone=zone, packs=packs, now=now_ns()))
        return {
            "devices": len(specs.devices),
            "certificates": len(specs.certificates),
            "events": len(specs.events),
        }

    def report(self, *, json: bool) -> None:
        """Write the mistakes: to stderr, one a line, or as the one JSON document."""
        from gateway.errors import Mistakes

        if not json:
            note(str(Mistakes(self.mistakes)))
            return
        listed = [
            {"file": m.file, "line": m.line, "key": m.key, "message": m.message}
            for m in sorted(set(self.mistakes), key=_place)
        ]
        write_json({"sound": False, "settings": self.settings_file, "mistakes": listed})

    def _sound(self, read: Callable[[], T]) -> T | None:
        from gateway.errors import Mistakes

        try:
            return read()
        except Mistakes as error:
            self.mistakes += error.mistakes
            return None


def _unreadable_secrets(settings: Settings | None) -> Iterator[str]:
    """Yield why a secret cannot be read here: no mistake, for the gateway may run elsewhere, in a container."""
    from gateway.errors import WrongUse

    if settings is None:
        return
    influx = settings.influx
    for secret in (settings.broker.secret, *(() if influx is None else (influx.secret, influx.query_secret))):
        try:
            secret()
        except WrongUse as error:
            yield str(error)


def _place(mistake: Mistake) -> tuple[str, int, str]:
    return (mistake.file, mistake.line or 0, mistake.key)


def _holds_registry(folder: Path) -> bool:
    from gateway.registry.files import SUFFIXES

    return any(p.suffix.lower() in SUFFIXES for p in folder.rglob("*"))
