"""`redis-acl`: the rights that a pod needs in Redis, as Redis takes them. It asks nobody."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import ConfigError
from storage import acl

Namespace = Annotated[
    str | None, typer.Option("--namespace", metavar="NAME", help="Prefix of the keys; PEERFLOW_NAMESPACE, or pf, where it is not given.")
]
User = Annotated[str, typer.Option("--user", metavar="NAME", help="Name of the user that pods come in as.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file", metavar="FILE", help="File with the password, of which the SHA-256 is printed; - reads standard input."
    ),
]
PasswordHash = Annotated[str | None, typer.Option("--password-hash", metavar="HEX", help="SHA-256 instead of the password.")]
WholeFile = Annotated[bool, typer.Option("--file", metavar="", help="Print a whole ACL file, in which the default user is off.")]


def redis_acl(
    namespace: Namespace = None,
    user: User = acl.USER,
    password_file: PasswordFile = None,
    password_hash: PasswordHash = None,
    file: WholeFile = False,
) -> None:
    """Print the ACL user that pods need in Redis: its commands and its keys, and nothing else."""
    name = namespace if namespace is not None else os.environ.get("PEERFLOW_NAMESPACE") or "pf"
    problems: list[str] = []
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", name):
        problems.append(f"--namespace ({name}) must be 1 to 32 characters of A-Z a-z 0-9 _ . -")
    if not acl.is_user_name(user):
        problems.append(f"--user ({user}) must be 1 to 64 characters of A-Z a-z 0-9 _ . -, and not default")
    if password_file is not None and password_hash is not None:
        problems.append("--password-file and --password-hash say the same thing; give one of them")
    if password_hash is not None and not re.fullmatch(r"[0-9a-f]{64}", password_hash):
        problems.append("--password-hash must be 64 hex digits in lower case, as `sha256sum` prints them")
    if problems:
        raise ConfigError(problems)
    hashed = password_hash or (acl.password_hash(_password(password_file)) if password_file is not None else acl.NO_PASSWORD)
    sys.stdout.write(acl.acl_file(name, user, hashed) if file else acl.user_line(name, user, hashed) + "\n")
    if hashed == acl.NO_PASSWORD:
        sys.stderr.write("no password was given: the zeros stand for the SHA-256 of one, and let nobody in\n")


def _password(path: Path) -> str:
    """The file's text without the line's end."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"--password-file ({path}) cannot be read: {error}"]) from error
    password = text.rstrip("\r\n")
    if not password:
        raise ConfigError([f"--password-file ({path}) is empty"])
    return password
