"""What a Redis URL names: one server, the Sentinels that know one, or nodes of a Redis Cluster.

    redis://user:password@host:6379/0                                          one server; rediss:// with TLS; unix:///path
    redis+sentinel://user:password@host:26379,host:26379/service/0?sentinel_password=…    the primary that Sentinels name
    redis+cluster://user:password@host:6379,host:6379                           a cluster, of which these are some nodes

User, password and options are those of the servers that hold the data; Sentinels have `sentinel_username` and `sentinel_password`. With
`rediss+…` everything is spoken over TLS, with Sentinels too, and the options `ssl_…` are for both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

Address = tuple[str, int]
"""Host (a name, or an IP address without brackets) and port."""

SENTINEL_PORT, SERVER_PORT = 26_379, 6_379
_PLAIN = ("redis", "rediss", "unix")
_SEVERAL = re.compile(r"(rediss?)\+(sentinel|cluster)://(?:([^/?#]*)@)?([^/?#@]*)(/[^?#]*)?(?:\?([^#]*))?")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_SERVICE = re.compile(r"[A-Za-z0-9_.:-]+")


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A URL, taken apart."""

    kind: Literal["server", "sentinel", "cluster"]
    hosts: tuple[Address, ...]
    """Sentinels, or nodes of a cluster; of one server nothing, since redis-py reads its URL itself."""
    service: str
    """By what name Sentinels know the primary."""
    node_url: str
    """The URL of a single server with user, password, database and options; without TLS and its host where `hosts` names some."""
    tls: bool
    asked_as: tuple[str | None, str | None]
    """User name and password for asking `hosts` who the primary is."""

    @classmethod
    def parse(cls, url: str) -> ServerUrl:
        """Raises ValueError for what is no URL of a server; the text does not quote it."""
        if scheme_of(url) in _PLAIN:
            parts = urlsplit(url)
            if not (parts.path.startswith("/") if parts.scheme == "unix" else parts.hostname and parts.port != 0):
                raise ValueError("no host, port 0, or no path of a socket")
            return cls("server", (), "", url, parts.scheme == "rediss", (None, None))
        found = _SEVERAL.fullmatch(url)
        if found is None:
            raise ValueError("not a URL of Redis")
        tls = found[1] == "rediss"
        _, kind, user, hosts, path, query = (part or "" for part in found.groups())
        options = dict(parse_qsl(query, keep_blank_values=True))
        asked_as = options.pop("sentinel_username", None), options.pop("sentinel_password", None)
        login = f"{user}@" if user else ""
        rest = f"?{urlencode(options)}" if options else ""
        if kind == "sentinel":
            service, database = _sentinel_path(path)
            sentinels, node_url = _addresses(hosts, SENTINEL_PORT), f"redis://{login}host/{database}{rest}"
            return cls("sentinel", sentinels, service, node_url, tls, asked_as)
        if path not in {"", "/", "/0"}:
            raise ValueError("a cluster has no databases besides 0")
        name, _, password = user.partition(":")
        logged_in = unquote(name) or None, unquote(password) or None
        return cls("cluster", _addresses(hosts, SERVER_PORT), "", f"redis://{login}host/0{rest}", tls, logged_in)


def scheme_of(url: str) -> str:
    """What stands before the first colon. `urlsplit` refuses some lists of hosts with an IPv6 address among them."""
    found = _SCHEME.match(url)
    return found[0].lower() if found else ""


def address_of(url: str) -> str:
    """The URL without user name, password and options, for messages."""
    found = _SEVERAL.fullmatch(url)
    if found:
        return f"{found[1]}+{found[2]}://{found[4]}{found[5] or ''}"
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def shown_address(address: Address) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(hosts: str, default_port: int) -> tuple[Address, ...]:
    found: list[Address] = []
    for text in hosts.split(","):
        host = _HOST.fullmatch(text)
        port = int(host[2] or default_port) if host else 0
        if host is None or not 0 < port < 65_536:
            raise ValueError("each host must be a name or an address, with a port from 1 to 65535 or none")
        found.append((host[1].strip("[]"), port))
    return tuple(found)


def _sentinel_path(path: str) -> tuple[str, int]:
    service, _, database = unquote(path).removeprefix("/").partition("/")
    if not _SERVICE.fullmatch(service) or not (database.isdigit() or not database):
        raise ValueError("the path must be the service that the Sentinels watch, and a database: /service/0")
    return service, int(database or 0)
