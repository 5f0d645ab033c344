"""What a pod asks of the server, and the ACL user that may do that and nothing else.

The server checks a user's rights at every command, those of a script included. So the lists below are complete, or a script stops in the
middle: a test compares them with what scripts and clients send, and `Store.prepare` asks the server before the first run (`rights`).
HELLO, AUTH and QUIT need no right.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

USER: Final = "peerflow"
NO_PASSWORD: Final = "0" * 64
"""The hash of no password that anybody knows: what stands for the real one in files that everybody may read."""

IN_SCRIPTS: Final = (
    "del", "exists", "get", "hdel", "hget", "hincrby", "hmget", "hset", "lindex", "llen", "lpop", "lrange", "lset", "ltrim", "persist",
    "pexpire", "pttl", "rpush", "set", "time", "xadd", "zadd", "zcard", "zmscore", "zpopmax", "zrange", "zrangebyscore", "zrem",
    "zremrangebyscore", "zrevrange", "zscore",
)  # fmt: skip
"""What the files in lua/ call."""
FROM_CLIENTS: Final = (
    "blpop", "evalsha", "exec", "get", "hget", "hgetall", "hmget", "hsetnx", "info", "lpop", "lrange", "multi", "script|load", "time",
    "xrevrange", "zcard", "zrange", "zrevrangebyscore", "zscan", "zscore",
)  # fmt: skip
"""What the modules of this package send. CONFIG GET, which `storage.server` tries, is left out: it would show the server's passwords."""
FROM_CONNECTIONS: Final = ("client|setname", "select")
"""What redis-py sends when it opens a connection; SELECT where the URL names a database."""
FROM_TOPOLOGY: Final = ("cluster|info", "cluster|slots", "role")
"""What finds the primary behind Sentinels (`storage.routed`) and in a cluster (`storage.slots`)."""
FROM_PROBES: Final = ("ping",)
"""What health checks of the server send as this user."""
COMMANDS: Final = tuple(sorted({*IN_SCRIPTS, *FROM_CLIENTS, *FROM_CONNECTIONS, *FROM_TOPOLOGY, *FROM_PROBES}))

_TRIED_WITH: Final = {
    "": "cluster|info cluster|slots exec info multi ping role time",
    "x": "client|setname script|load select",
    "x 1 %": "evalsha",
    "%": "del exists get hgetall llen lpop persist pttl zcard zpopmax",
    "% * x 1": "xadd",
    "% 1": "blpop hdel hget hmget lindex pexpire rpush set zmscore zrem zscan zscore",
}
"""Arguments of a trial → the commands that have so many of them; all others have two after their key."""


def patterns(namespace: str) -> tuple[str, ...]:
    """The keys of a namespace: the one outside partitions, and those of all partitions. No other namespace has such a key."""
    return f"~{{{namespace}}}:*", f"~{{{namespace}:*}}:*"


def rules(namespace: str) -> str:
    """The user's rights, as ACL SETUSER takes them: these keys, these commands, no channels."""
    return " ".join([*patterns(namespace), "resetchannels", "-@all", *(f"+{command}" for command in COMMANDS)])


def password_hash(password: str) -> str:
    """SHA-256 in hex, which the server keeps instead of the password."""
    return hashlib.sha256(password.encode()).hexdigest()


def user_line(namespace: str, user: str = USER, hashed: str = NO_PASSWORD) -> str:
    """A line of the server's ACL file, or of its configuration; without the first word, what ACL SETUSER takes."""
    return f"user {user} reset on #{hashed} {rules(namespace)}"


def acl_file(namespace: str = "pf", user: str = USER, hashed: str = NO_PASSWORD) -> str:
    """A whole ACL file: nobody but this user comes in.

    The default user is off, so that nobody is it, and keeps its rights: Redis 8 and Valkey 8, reading their append-only file at a
    start, check them for every transaction, which is what scripts leave there, and drop those that the default user may not do.
    """
    return f"user default reset off ~* &* +@all\n{user_line(namespace, user, hashed)}\n"


def is_user_name(text: str) -> bool:
    """Whether the text can stand in an ACL file, and in a URL without being quoted."""
    return re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text) is not None and text != "default"


def trials() -> list[str]:
    """One line for each of COMMANDS, as the script `rights` takes it; `%` stands for a key of the partition."""
    given = {name: arguments for arguments, names in _TRIED_WITH.items() for name in names.split()}
    return [f"{name.replace('|', ' ')} {given.get(name, '% 1 1')}".rstrip() for name in COMMANDS]
