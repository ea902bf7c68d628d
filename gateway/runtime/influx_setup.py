"""Prepare an InfluxDB 2 for Metergate, and look whether one is fit: organisation, bucket, retention, tokens."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import MetergateError, Refused, WrongUse
from gateway.history.influx_wire import Outcome, read_answer, spoken
from gateway.metrology.instants import HOUR_NS, SECOND_NS, format_duration
from gateway.runtime.influx_link import InfluxLink, load_client
from gateway.settings import Influx

__all__ = ["Finding", "Prepared", "inspect", "refuse_short_retention", "set_up"]

ANSWER_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a set-up did. `files`: what each holds; `made`: what was not there before."""

    org: str
    bucket: str
    retention_ns: int
    made: tuple[str, ...]
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with an InfluxDB, and what to do about it."""

    what: str
    remedy: str


def refuse_short_retention(influx: Influx, retention_ns: int) -> None:
    """Raise Refused if a bucket would drop what an outage had delayed; 0 keeps everything."""
    if retention_ns and retention_ns < influx.outage_tolerance:
        raise Refused(
            f"a retention of {format_duration(retention_ns)} is shorter than the outage tolerance of "
            f"{format_duration(influx.outage_tolerance)}: readings that waited so long would be dropped on arrival",
            remedy="give a longer --retention, or lower influx.outage_tolerance",
        )
    if retention_ns and (retention_ns < HOUR_NS or retention_ns % SECOND_NS):
        raise WrongUse("InfluxDB keeps points for 1 h or longer, in whole seconds", remedy="give a longer --retention")


async def set_up(influx: Influx, *, retention_ns: int, user: str, folder: Path, admin_token: str | None) -> Prepared:
    """Make what is missing: on a fresh server user, organisation and bucket, on any the bucket and its two tokens.

    Secrets go into new files of `folder` with mode 0600, made before the server is asked. Raises Refused for a short
    retention, files that are there, a server that is set up when `admin_token` is None, or what the server refuses.
    """
    refuse_short_retention(influx, retention_ns)
    load_client()
    made: list[str] = []
    token = admin_token
    async with InfluxLink(influx, lambda: token, ANSWER_S) as link:
        fresh = bool((await _ask(link, "GET", "/api/v2/setup")).get("allowed"))
        if not fresh and admin_token is None:
            raise Refused(
                f"{influx.url} is set up already", remedy="give --admin-token-file with a token that may make buckets"
            )
        names = ["influx-write-token", "influx-query-token"]
        if fresh:
            names += ["influx-admin-password", "influx-admin-token"]
        files = {n: folder / n for n in names}
        _reserve(list(files.values()))
        try:
            if fresh:
                token = await _onboard(link, influx, user, retention_ns, files)
                made += [f"user {user}", f"organisation {influx.org}", f"bucket {influx.bucket}"]
            org, bucket, kept, more = await _bucket(link, influx, retention_ns)
            made += more
            for action, name in (("write", "influx-write-token"), ("read", "influx-query-token")):
                files[name].write_text(await _token(link, org, bucket, influx.bucket, action) + "\n", encoding="utf-8")
        except (MetergateError, OSError):
            _drop_empty(files.values())
            raise
    return Prepared(org=influx.org, bucket=influx.bucket, retention_ns=kept, made=tuple(made), files=files)


def _reserve(files: list[Path]) -> None:
    """Make empty files that only we can read. Raises Refused if one is there, WrongUse if it cannot be made."""
    there = [str(f) for f in files if f.exists()]
    if there:
        raise Refused(f"{', '.join(there)}: there already", remedy="move them away or give another --out")
    for file in files:
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise WrongUse(f"cannot write {file}: {error.strerror}", remedy="give another --out") from None


def _drop_empty(files: Any) -> None:
    for file in files:
        if file.exists() and not file.stat().st_size:
            file.unlink()


async def _onboard(link: InfluxLink, influx: Influx, user: str, retention_ns: int, files: Mapping[str, Path]) -> str:
    """Set up a fresh server; return its first token. Password and token are generated."""
    import secrets

    password, token = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    files["influx-admin-password"].write_text(password + "\n", encoding="utf-8")
    files["influx-admin-token"].write_text(token + "\n", encoding="utf-8")
    wanted = {
        "username": user,
        "password": password,
        "org": influx.org,
        "bucket": influx.bucket,
        "retentionPeriodSeconds": retention_ns // SECOND_NS,
        "token": token,
    }
    try:
        await _ask(link, "POST", "/api/v2/setup", body=wanted)
    except MetergateError:
        for name in ("influx-admin-password", "influx-admin-token"):
            files[name].write_text("", encoding="utf-8")
        raise
    return token


async def _bucket(link: InfluxLink, influx: Influx, retention_ns: int) -> tuple[str, str, int, list[str]]:
    """Return the ids of organisation and bucket, the bucket's retention (ns, 0: for ever), and what was made."""
    made = []
    orgs = (await _ask(link, "GET", "/api/v2/orgs", {"org": influx.org}, absent={})).get("orgs", [])
    if orgs:
        org = str(orgs[0]["id"])
    else:
        org = str((await _ask(link, "POST", "/api/v2/orgs", body={"name": influx.org}))["id"])
        made.append(f"organisation {influx.org}")
    found = await _find_bucket(link, influx)
    if found is None:
        rules = [{"type": "expire", "everySeconds": retention_ns // SECOND_NS}] if retention_ns else []
        wanted = {"orgID": org, "name": influx.bucket, "retentionRules": rules}
        found = await _ask(link, "POST", "/api/v2/buckets", body=wanted)
        made.append(f"bucket {influx.bucket}")
    kept = _retention(found)
    refuse_short_retention(influx, kept)
    return org, str(found["id"]), kept, made


async def _find_bucket(link: InfluxLink, influx: Influx) -> dict[str, Any] | None:
    query = {"org": influx.org, "name": influx.bucket}
    found = (await _ask(link, "GET", "/api/v2/buckets", query, absent={})).get("buckets", [])
    return found[0] if found else None


def _retention(bucket: Mapping[str, Any]) -> int:
    return max((int(r.get("everySeconds", 0)) for r in bucket.get("retentionRules", [])), default=0) * SECOND_NS


async def _token(link: InfluxLink, org: str, bucket: str, name: str, action: str) -> str:
    """Make a token that may do one thing with one bucket."""
    resource = {"type": "buckets", "id": bucket, "orgID": org}
    wanted = {
        "orgID": org,
        "description": f"metergate: {action} {name}",
        "permissions": [{"action": action, "resource": resource}],
    }
    return str((await _ask(link, "POST", "/api/v2/authorizations", body=wanted))["token"])


async def _ask(
    link: InfluxLink,
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: object = None,
    absent: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the document of an answer; `absent` is returned for 404. Raises Refused with the server's words."""
    try:
        status, headers, said = await link.request(
            method, path, query or {}, {"Content-Type": "application/json"}, body
        )
    except ConnectionError as error:
        raise WrongUse(str(error), remedy="check influx.url and whether InfluxDB runs") from error
    if status == 404 and absent is not None:
        return absent
    if status in {200, 201}:
        try:
            found = json.loads(said)
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
        raise WrongUse(f"{method} {path} was answered by something else than InfluxDB 2", remedy="check influx.url")
    raise Refused(
        f"InfluxDB refused {method} {path}: {read_answer(status, headers, said, 0.0).words}",
        remedy="use a token with the rights it takes",
    )


async def inspect(influx: Influx) -> list[Finding]:
    """Return what is wrong with the InfluxDB of the settings: address, token, organisation, bucket, retention.

    Nothing is written: an empty body tells a wrong token or bucket from a right one. Retention shows only to a token
    that may read the bucket.
    """
    load_client()
    try:
        wrong = await _try_to_write(influx)
        if wrong is not None:
            return [wrong]
        async with InfluxLink(influx, influx.query_secret, ANSWER_S) as link:
            found, words = await _visible_bucket(link, influx)
    except MetergateError as error:  # a token file, the certificate
        return [Finding(what=error.cause, remedy=error.remedy)]
    if found is None and (influx.query_token is not None or influx.query_token_file is not None):
        what = f"queries are not answered: the token for them cannot read bucket {influx.bucket}{words}"
        return [
            Finding(what=what, remedy="write the query token of `metergate influx setup` to influx.query_token_file")
        ]
    if found is not None:
        try:
            refuse_short_retention(influx, _retention(found))
        except MetergateError as error:
            return [Finding(what=error.cause, remedy=f"keep points longer in bucket {influx.bucket}")]
    return []


async def _try_to_write(influx: Influx) -> Finding | None:
    """Return what keeps InfluxDB from taking points. Raises WrongUse for a token file or a certificate."""
    query = {"org": influx.org, "bucket": influx.bucket, "precision": "ns"}
    async with InfluxLink(influx, influx.secret, ANSWER_S) as link:
        try:
            reply = await link.request("POST", "/api/v2/write", query, {"Content-Type": "text/plain"}, b"")
        except ConnectionError as error:
            return Finding(what=f"InfluxDB cannot be used: {error}", remedy="check influx.url and whether it runs")
    answer = read_answer(*reply, now_s=0.0)
    if answer.outcome is Outcome.HELD and answer.status in _REMEDY and spoken(reply[2]) is not None:
        return Finding(what=f"InfluxDB refuses to take points: {answer.words}", remedy=_REMEDY[answer.status])
    if answer.outcome in {Outcome.HELD, Outcome.STRANGE} and answer.status != 400:
        what = f"{influx.url} does not answer as InfluxDB 2 does: {answer.words}"
        return Finding(what=what, remedy="correct influx.url")
    if answer.outcome is Outcome.LATER:
        return Finding(what=f"InfluxDB cannot be used: {answer.words}", remedy="check influx.url and whether it runs")
    return None


async def _visible_bucket(link: InfluxLink, influx: Influx) -> tuple[dict[str, Any] | None, str]:
    """Return the bucket as the link's token sees it, and what was said where it does not."""
    try:
        return await _find_bucket(link, influx), ""
    except Refused as error:
        return None, f" ({error.cause})"


_REMEDY = {
    401: "write a valid token to influx.token_file; `metergate influx setup` makes one",
    403: "give the token the right to write to the bucket; `metergate influx setup` makes one that may",
    404: "correct influx.org and influx.bucket, or make them with `metergate influx setup`",
}
