"""Documents of an issuer: from whom they are taken, and how much of them."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from peerflow.auth.addresses import is_safe
from peerflow.auth.fetch import LARGEST_BYTES, FetchFailed, fetch

URL = "https://login.example.org/keys"


class Body(httpx.AsyncByteStream):
    """A body that comes in parts, as from a network."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), 65_536):
            yield self._content[start : start + 65_536]


def ok(content: bytes) -> httpx.Response:
    return httpx.Response(200, stream=Body(content))


def answering(*answers: httpx.Response) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    return httpx.MockTransport(answer), asked


@pytest.mark.parametrize(
    "url", ["https://login.example.org", "https://[::1]:8443/x", "http://127.0.0.1:9000/x", "http://localhost/", "http://[::1]/"]
)
def test_https_and_this_machine_are_trusted(url: str) -> None:
    assert is_safe(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.org",
        "http://127.0.0.1.example.org/",
        "http://127.0.0.1@example.org/",
        "https://user:secret@example.org",
        "ftp://example.org",
        "file:///etc/passwd",
        "https://",
        "https://example.org:port",
        "https://[::1",
        "https://example.org/#x",
        "login.example.org",
        "",
    ],
)
def test_nothing_else_is(url: str) -> None:
    assert not is_safe(url)


async def test_an_object_is_answered() -> None:
    transport, asked = answering(ok(b'{"keys": []}'))
    assert await fetch(URL, transport=transport) == {"keys": []}
    assert asked[0].headers["accept-encoding"] == "identity"


async def test_an_address_that_cannot_be_trusted_is_not_asked() -> None:
    transport, asked = answering(ok(b"{}"))
    with pytest.raises(FetchFailed, match="neither https nor this machine"):
        await fetch("http://login.example.org/keys", transport=transport)
    assert asked == []


async def test_nobody_is_followed_elsewhere() -> None:
    transport, asked = answering(httpx.Response(302, headers={"Location": "https://evil.example/"}), ok(b"{}"))
    with pytest.raises(FetchFailed, match="answers 302"):
        await fetch(URL, transport=transport)
    assert len(asked) == 1


REFUSED: dict[str, tuple[httpx.Response, str]] = {
    "not found": (httpx.Response(404, stream=Body(b"{}")), "answers 404"),
    "list": (ok(b"[]"), "no JSON object"),
    "page": (ok(b"<html>"), "no JSON object"),
    "twice": (ok(b'{"keys": [], "keys": []}'), "no JSON object"),
    "large": (ok(b'{"keys": []' + b" " * LARGEST_BYTES + b"}"), "more than 262144 bytes"),
    "compressed": (httpx.Response(200, stream=Body(gzip.compress(b"{}")), headers={"Content-Encoding": "gzip"}), "answers 200 gzip"),
}


@pytest.mark.parametrize(("answer", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_anything_but_a_small_object_is_refused(answer: httpx.Response, reason: str) -> None:
    transport, _ = answering(answer)
    with pytest.raises(FetchFailed, match=reason):
        await fetch(URL, transport=transport)


async def test_an_address_that_is_none_is_a_failure() -> None:
    with pytest.raises(FetchFailed):
        await fetch("https://login.example.org/\x00", transport=answering(ok(b"{}"))[0])


async def test_silence_is_a_failure() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[Errno 111] Connection refused", request=request)

    with pytest.raises(FetchFailed, match="Connection refused"):
        await fetch(URL, transport=httpx.MockTransport(silent))
