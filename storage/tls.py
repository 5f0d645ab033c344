"""TLS to the server: which options a URL may have, what a failed handshake means, and certificates that are replaced while pods run."""

# redis-py does not annotate what it keeps.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import difflib
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import redis.asyncio.connection

FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
OPTIONS = (*FILES, "ssl_ca_path", "ssl_ca_data", "ssl_password", "ssl_check_hostname", "ssl_cert_reqs", "ssl_min_version", "ssl_ciphers")
OFF = {"0", "f", "false", "n", "no"}

_MEANINGS = (
    (("hostname mismatch", "ip address mismatch"), "its certificate is for another name: use a name that stands in it"),
    (("has expired",), "its certificate has expired: renew it"),
    (("not yet valid",), "its certificate is not valid yet: look at both clocks"),
    (
        ("unable to get local issuer", "self-signed", "self signed", "unable to verify the first"),
        "nobody that this pod trusts has signed its certificate: name the CA's file, ?ssl_ca_certs=/path/to/ca.pem",
    ),
    (("certificate required",), "it wants a client certificate: add ssl_certfile and ssl_keyfile"),
    (("unknown ca", "bad certificate", "certificate unknown", "certificate expired"), "it does not accept this pod's client certificate"),
    (("wrong version number", "record layer failure", "packet length too long"), "it does not speak TLS on that port"),
)


def problems(url: str) -> list[str]:
    """Why this URL's TLS must not, or cannot, be used; a line each."""
    parts = urlsplit(url)
    given = {name: values[-1] for name, values in parse_qs(parts.query).items() if name.startswith("ssl_")}
    if given and not parts.scheme.startswith("rediss"):
        return [f"redis_url: {', '.join(sorted(given))} is about TLS, and {parts.scheme}:// has none; use rediss://"]
    found: list[str] = []
    for name in sorted(given.keys() - set(OPTIONS)):
        near = difflib.get_close_matches(name, OPTIONS, 1)
        found.append(
            f"redis_url: {name} is not an option" + (f"; did you mean {near[0]}?" if near else f"; there are {', '.join(OPTIONS)}")
        )
    if given.get("ssl_cert_reqs", "required") != "required":
        found.append(
            f"redis_url: ssl_cert_reqs ({given['ssl_cert_reqs']}) must be required: without it anybody between this pod and its server can "
            "read and change everything; for a certificate of your own, name its CA with ssl_ca_certs"
        )
    for name in FILES:
        if name in given:
            try:
                Path(given[name]).open("rb").close()
            except OSError as error:
                found.append(f"redis_url: {name} ({given[name]}) cannot be read: {error.strerror}")
    return found


def warnings(url: str) -> list[str]:
    """What an operator should know of this URL's TLS."""
    if parse_qs(urlsplit(url).query).get("ssl_check_hostname", [""])[-1].lower() in OFF:
        text = (
            "PEERFLOW_REDIS_URL has ssl_check_hostname off: whoever has any certificate of the same CA can pose as the server; give the "
            "server a certificate with its name"
        )
        return [text]
    return []


def meaning(error: BaseException) -> str:
    """What a failed handshake says, and what to do about it; empty for any other error."""
    texts: list[str] = []
    at: BaseException | None = error
    while at is not None and len(texts) < 8:
        texts.append(str(at))
        at = at.__cause__ or at.__context__
    said = " ".join(texts)
    if not any(sign in said.lower() for sign in ("ssl", "tls", "certificate")):
        return ""
    return next((f"{text} ({texts[0]})" for signs, text in _MEANINGS if any(sign in said.lower() for sign in signs)), "")


class Connection(redis.asyncio.connection.SSLConnection):
    """redis-py's, but for its certificates: they are read once for all connections, and again when their files have changed.

    redis-py reads them once for each connection object, with all CAs of the machine (10 ms), and never again when that one reconnects.
    """

    def _connection_arguments(self) -> Mapping[str, Any]:
        self.ssl_context.context = _context(cast("Any", self.ssl_context))
        return cast("Mapping[str, Any]", super()._connection_arguments())


_Stamp = tuple[tuple[int, int, int], ...]
_CONTEXTS: dict[tuple[object, ...], tuple[_Stamp, ssl.SSLContext]] = {}


def _context(wanted: Any) -> ssl.SSLContext:
    files = (wanted.ca_certs, wanted.certfile, wanted.keyfile)
    rest = (wanted.ca_path, wanted.ca_data, wanted.password, wanted.check_hostname, wanted.cert_reqs, wanted.min_version, wanted.ciphers)
    stamp = tuple(_stamp(Path(file)) for file in files if file)
    known = _CONTEXTS.get((*files, *rest))
    if known is not None and known[0] == stamp:
        return known[1]
    wanted.context = None
    context: ssl.SSLContext = wanted.get()
    _CONTEXTS[*files, *rest] = stamp, context
    return context


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
