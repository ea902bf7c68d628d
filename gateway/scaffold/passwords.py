"""Passwords as mosquitto keeps them: PBKDF2 with SHA-512 (mosquitto_passwd, format 7)."""

from __future__ import annotations

import base64
import hashlib
import secrets

__all__ = ["password_line"]

ITERATIONS = 101
"""What mosquitto_passwd takes; our passwords have 192 random bits, so that guessing is hopeless all the same."""
_SALT_BYTES = 12
_KEY_BYTES = 64


def password_line(user: str, password: str) -> str:
    """Return the line of the password file that lets this user in."""
    salt = secrets.token_bytes(_SALT_BYTES)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS, _KEY_BYTES)
    return f"{user}:$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"
