"""The settings of one gateway: `config/gateway.yaml`, overlaid by the environment (CONTRACTS §10).

`METERGATE_` and `__` between levels name a setting in the environment (`METERGATE_BROKER__URL`); `METERGATE_TOPICS` is
the list in YAML's flow style. An empty variable is no setting. Every setting has a default, and relative paths start at
the working directory. All mistakes are reported together, before anything is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, PlainSerializer, PlainValidator, SecretStr, model_validator

from gateway.errors import Mistake, Mistakes, WrongUse
from gateway.metrology.instants import DAY_NS, SECOND_NS
from gateway.registry.fields import Count, Duration, Ident, Text, readable
from gateway.registry.textfile import read_text
from gateway.registry.validation import Written, validate
from gateway.registry.yamltext import Document, Tree, parse
from gateway.registry.yamltext import Path as Place

__all__ = [
    "DEFAULT_PATH", "Api", "Broker", "DriftBudget", "Influx", "LedgerSettings", "Retention",
    "Settings", "TopicSettings", "config_folder", "effective",
    "load", "mistake_at", "unread_variables",
]  # fmt: skip

DEFAULT_PATH = Path("config/gateway.yaml")
PREFIX = "METERGATE_"
MASK = "********"

_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*/\s*(day|week|month|year)")


def _url(schemes: Mapping[str, int]) -> PlainValidator:
    """Return the validator of a URL of these schemes (scheme -> default port), which carries no credentials."""

    def read(value: object) -> str:
        text = readable(value)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError(f"{text!r} is not a URL such as {next(iter(schemes))}://localhost:1883") from None
        if parts.scheme not in schemes or not parts.hostname or port == 0:
            wanted = " or ".join(f"{s}://host:{p}" for s, p in schemes.items())
            raise ValueError(f"{MASK if '@' in text else text!r} is not {wanted}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("has credentials in it, which logs would show; use username and password_file or a token")
        return text

    return PlainValidator(read)


def _zone(value: object) -> str:
    text = readable(value)
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text[:40]!r} is no time zone such as Asia/Ho_Chi_Minh") from None
    return text


def _listen(value: object) -> str:
    text = readable(value)
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535 or (":" in host and host[0] + host[-1] != "[]"):
        raise ValueError(f"{text[:80]!r} is no address such as 127.0.0.1:8080 or [::1]:8080")
    return text


def _budget(value: object) -> str:
    text = readable(value)
    found = _BUDGET.fullmatch(text)
    if found is None or not float(found[1]) > 0:
        raise ValueError(f"{text[:40]!r} is no false-alarm budget such as 1/month (day, week, month, year)")
    return text


def _template(value: object) -> str:
    from collectors.topics import Template

    return Template.parse(readable(value)).text


def _secret(value: object) -> SecretStr:
    return value if isinstance(value, SecretStr) else SecretStr(readable(value))


PathText = Annotated[Path, PlainValidator(lambda value: Path(readable(value))), PlainSerializer(str)]
Secret = Annotated[SecretStr, PlainValidator(_secret), PlainSerializer(lambda _: MASK, return_type=str)]
Zone = Annotated[str, PlainValidator(_zone)]


class Broker(Written):
    """The MQTT broker and how to speak to it. `mqtts` verifies the broker by `ca_file`, else by the system's CAs.

    `password` goes before `password_file`.
    """

    url: Annotated[str, _url({"mqtt": 1883, "mqtts": 8883})] = "mqtt://localhost:1883"
    client_id: Text | None = None
    username: Text | None = None
    password: Secret | None = None
    password_file: PathText | None = None
    ca_file: PathText | None = None
    cert_file: PathText | None = None
    key_file: PathText | None = None
    keepalive: Duration = 5 * SECOND_NS
    protocol: Literal["auto", "5", "4"] = "auto"
    receive_maximum: Count = 2000

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.username is None and (self.password is not None or self.password_file is not None):
            raise ValueError("a password needs a username")
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError("ca_file, cert_file and key_file are for mqtts://")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        if not SECOND_NS <= self.keepalive <= 65535 * SECOND_NS:
            raise ValueError("keepalive must be 1 s to 65535 s")
        if not 1 <= self.receive_maximum <= 65535:
            raise ValueError("receive_maximum must be 1 to 65535")
        return self

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("mqtts://")

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return urlsplit(self.url).hostname or "localhost"

    @property
    def port(self) -> int:
        """The broker's port."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    def secret(self) -> str | None:
        """Return the password, from its file if it is in one; WrongUse when the file cannot be read."""
        return _revealed(self.password, self.password_file, "broker.password_file")


class Influx(Written):
    """InfluxDB 2; the section is there or it is not used. `token` goes before `token_file`.

    `token` writes to the bucket, `query_token` reads from it; without the latter queries use the former. `https`
    verifies the server by `ca_file`, else by the system's CAs. `gzip: auto` compresses what leaves this machine. A
    bucket must keep points for longer than `outage_tolerance`, or an outage that long would lose them on arrival.
    """

    url: Annotated[str, _url({"http": 8086, "https": 443})] = "http://localhost:8086"
    org: Text = "metergate"
    bucket: Text = "metergate"
    token: Secret | None = None
    token_file: PathText | None = None
    query_token: Secret | None = None
    query_token_file: PathText | None = None
    ca_file: PathText | None = None
    gzip: Literal["auto", "on", "off"] = "auto"
    outage_tolerance: Duration = 30 * DAY_NS

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ca_file is not None and not self.url.startswith("https://"):
            raise ValueError("ca_file is for https://")
        return self

    @property
    def compressed(self) -> bool:
        """Whether bodies are compressed: always, never, or when InfluxDB is on another machine."""
        host = urlsplit(self.url).hostname or ""
        near = host in {"localhost", "::1"} or host.startswith("127.")
        return self.gzip == "on" or (self.gzip == "auto" and not near)

    @property
    def target(self) -> str:
        """What points are sent to, in words: another one gets the whole ledger."""
        return f"{self.url.rstrip('/')} {self.org}/{self.bucket}"

    def secret(self) -> str | None:
        """Return the token, from its file if it is in one; WrongUse when the file cannot be read."""
        return _revealed(self.token, self.token_file, "influx.token_file")

    def query_secret(self) -> str | None:
        """Return the token for queries; WrongUse when its file cannot be read."""
        found = _revealed(self.query_token, self.query_token_file, "influx.query_token_file")
        return self.secret() if found is None else found


class Api(Written):
    """The HTTP interface."""

    listen: Annotated[str, PlainValidator(_listen)] = "127.0.0.1:8080"

    @property
    def host(self) -> str:
        """The address to listen on, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on; 0 lets the system choose."""
        return int(self.listen.rpartition(":")[2])


class DriftBudget(Written):
    """How many false alarms the whole site bears, such as `1/month`."""

    budget: Annotated[str, PlainValidator(_budget)] = "1/month"


class TopicSettings(Written):
    """Another maker's topics: a template with `{device}`, `{channel}`, `{site}`, and the profile that reads them."""

    filter: Annotated[str, PlainValidator(_template)]
    profile: Ident
    timezone: Zone | None = None
    channels: list[Ident] | None = None


class Retention(Written):
    """How long the ledger keeps what it holds; the section is there or everything is kept for ever.

    `raw`: readings, with their verdicts, and of a channel with checks at least all since the certificate or event
    before the one that holds; `rollups`: what they amounted to by the hour.
    """

    raw: Duration = 1095 * DAY_NS
    rollups: Duration = 7300 * DAY_NS

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.raw < DAY_NS:
            raise ValueError("raw must be a day or longer")
        if self.rollups < self.raw:
            raise ValueError("rollups must be kept as long as raw, or longer")
        return self


class LedgerSettings(Written):
    """The ledger."""

    retention: Retention | None = None


class Settings(Written):
    """Everything one gateway is told."""

    site: Ident = "van-giang"
    timezone: Zone = "Asia/Ho_Chi_Minh"
    data_dir: PathText = Path("var")
    broker: Broker = Field(default_factory=Broker)
    influx: Influx | None = None
    api: Api = Field(default_factory=Api)
    drift: DriftBudget = Field(default_factory=DriftBudget)
    lateness: Duration = 30 * DAY_NS
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    topics: list[TopicSettings] = Field(default_factory=list)

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def client_id(self) -> str:
        """The MQTT client id, which names the broker's session of this gateway."""
        return self.broker.client_id or f"metergate-{self.site}"


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of a file and the environment over it.

    No path: `config/gateway.yaml` where it is, else the defaults. Mistakes names file, line and key of each, or the
    variable; WrongUse when a file that was asked for is not there.
    """
    document = _document(path)
    tree: dict[str, Tree] = {}
    mistakes = list(document.mistakes)
    if isinstance(document.tree, dict):
        tree = deepcopy(document.tree)
    elif document.tree is not None:
        mistakes.append(document.mistake((), f"expected settings such as {', '.join(Settings.model_fields)}"))
    variables = _overlay(tree, environ, mistakes)
    found = validate(Settings, tree, document)
    if isinstance(found, list):
        mistakes += [_placed(m, variables) for m in found]
    if mistakes or isinstance(found, list):
        raise Mistakes(mistakes)
    return found


def config_folder(path: Path | None) -> Path:
    """Return the folder whose `profiles`, `rulepacks` and `devices` belong to a settings file."""
    return (path or DEFAULT_PATH).parent


def effective(settings: Settings) -> dict[str, Any]:
    """Return all settings as they hold, for JSON; secrets are masked."""
    document = settings.model_dump(mode="json")
    document["broker"]["client_id"] = settings.client_id
    return document


def mistake_at(path: Path | None, environ: Mapping[str, str], place: Place, message: str) -> Mistake:
    """Return a mistake in settings that only became one beside other files, at its line or variable."""
    found = _document(path).mistake(place, message)
    return _placed(found, _overlay({}, environ, []))


def unread_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that begin like ours and name no setting; another program's, or misspelt."""
    return sorted(k for k in environ if k.startswith(PREFIX) and _section(k) not in Settings.model_fields)


def _document(path: Path | None) -> Document:
    if path is None and not DEFAULT_PATH.exists():
        return Document(file=str(DEFAULT_PATH))
    wanted = path or DEFAULT_PATH
    if not wanted.is_file():
        raise WrongUse(f"there is no settings file {wanted}", remedy="name one with --config, or leave it out")
    text = read_text(wanted)
    if isinstance(text, Mistake):
        return Document(file=str(wanted), mistakes=(text,))
    return parse(text, str(wanted))


def _levels(variable: str) -> list[str]:
    return variable.removeprefix(PREFIX).lower().split("__")


def _section(variable: str) -> str:
    return _levels(variable)[0]


def _overlay(tree: dict[str, Tree], environ: Mapping[str, str], mistakes: list[Mistake]) -> dict[str, str]:
    """Put the variables into the tree; return dotted key -> variable."""
    variables: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or not environ[variable] or _section(variable) not in Settings.model_fields:
            continue
        levels = _levels(variable)
        value: Tree = environ[variable]
        if levels == ["topics"]:
            document = parse(environ[variable], "environment")
            mistakes += [replace(m, line=None, key=variable) for m in document.mistakes]
            value = document.tree
        at = tree
        for level in levels[:-1]:
            inner = at.get(level)
            if not isinstance(inner, dict):
                inner = at[level] = {}
            at = inner
        at[levels[-1]] = value
        variables[".".join(levels)] = variable
    return variables


def _placed(mistake: Mistake, variables: Mapping[str, str]) -> Mistake:
    """Return the mistake at the variable that made it, if one did."""
    for key, variable in variables.items():
        if mistake.key == key or mistake.key.startswith((f"{key}.", f"{key}[")):
            return Mistake(file="environment", line=None, key=variable, message=mistake.message)
    return mistake


def _revealed(secret: SecretStr | None, file: Path | None, key: str) -> str | None:
    if secret is not None:
        return secret.get_secret_value()
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise WrongUse(
            f"{key}: cannot read {file}: {reason}", remedy="write the secret there, or correct the path"
        ) from None
    if not text:
        raise WrongUse(f"{key}: {file} is empty", remedy="write the secret there")
    return text
