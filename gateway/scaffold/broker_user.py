"""Who Mosquitto is when root starts it: not root, so the broker's files must be the user's that it becomes."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path

__all__ = ["BROKER_USER", "can_enter", "give_to_broker"]

BROKER_USER = "mosquitto"
"""Started by root, and told of no other, Mosquitto becomes this user (mosquitto.conf(5), `user`)."""

_ITS_OWN = ("config/mosquitto/", "var/mosquitto")


def give_to_broker(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Give the broker's files among `names` (relative to the folder) to its user; return what is left to be done.

    Only root can. Passwords, key and queue stay readable by one user alone.
    """
    places = [folder / name for name in names if name.startswith(_ITS_OWN)]
    try:
        user = pwd.getpwnam(BROKER_USER)
    except KeyError:
        there = f"chown -R {BROKER_USER} {folder}/config/mosquitto {folder}/var/mosquitto"
        return (f"a broker that root starts runs as {BROKER_USER}, and there is no such user; once there is: {there}",)
    for place in places:
        os.chown(place, user.pw_uid, user.pw_gid)
    here = folder.resolve()
    shut = [p for p in (here, *here.parents) if not can_enter(p, user)]
    if not shut:
        return ()
    elsewhere = f"make the centre elsewhere, such as /srv/{here.name}, or as the user who is to run it"
    return (f"a broker that root starts runs as {BROKER_USER}, who cannot enter {shut[-1]}: {elsewhere}",)


def can_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    """Return whether a user may pass through a folder, by its mode."""
    about = folder.stat()
    if about.st_uid == user.pw_uid:
        return bool(about.st_mode & 0o100)
    if about.st_gid in os.getgrouplist(user.pw_name, user.pw_gid):
        return bool(about.st_mode & 0o010)
    return bool(about.st_mode & 0o001)
