"""What a pod's connections bear: slow and large heads, idle and too many connections; and the headers on every answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import httpx
import pytest

from peerflow import http_protocol
from peerflow.api.outermost import HEADERS
from peerflow.http_protocol import HEAD_BYTES, Protocol
from tests.support.pods import Cluster
from tests.support.served_api import Served

GET = b"GET /healthz HTTP/1.1\r\nHost: pod\r\n"


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Served]:
    monkeypatch.setattr(Protocol, "head_seconds", 0.3)
    served = await Served().start()
    yield served
    await served.stop()


def endless(part: bytes = b"x") -> Iterator[bytes]:
    for _ in range(1_000):
        yield part


def has_safe_headers(answer: bytes) -> bool:
    head = answer.split(b"\r\n\r\n")[0].lower()
    assert b"\r\nserver:" not in head
    return all(f"\r\n{name}: {value}".lower().encode() in head for name, value in HEADERS.items())


async def test_headers_that_come_byte_by_byte_are_cut_off(served: Served) -> None:
    connection = await served.connect()
    connection.send(GET + b"X-Slow: ")
    assert await connection.trickle(endless()) < 1_000
    answer = await connection.answer()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"urn:peerflow:problem:headers-slow" in answer
    assert has_safe_headers(answer)


async def test_a_request_line_that_comes_byte_by_byte_is_cut_off(served: Served) -> None:
    connection = await served.connect()
    connection.send(b"GET /")
    assert await connection.trickle(endless()) < 1_000
    assert (await connection.answer()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("first", [b"", b"\r\n"])
async def test_a_connection_on_which_no_request_begins_is_closed(served: Served, first: bytes) -> None:
    connection = await served.connect()
    connection.send(first)
    assert await connection.answer() == b""


async def test_blank_lines_after_an_answer_do_not_keep_a_connection(served: Served) -> None:
    connection = await served.connect()
    connection.send(GET + b"\r\n")
    assert (await connection.one()).startswith(b"HTTP/1.1 200 ")
    assert await connection.trickle(endless(b"\r\n")) < 1_000


async def test_a_slow_second_head_is_cut_off_as_a_first_one(served: Served) -> None:
    connection = await served.connect()
    connection.send(GET + b"\r\n")
    await connection.one()
    connection.send(GET)
    assert await connection.trickle(endless(b"X")) < 1_000
    assert (await connection.answer()).startswith(b"HTTP/1.1 408 ")


async def test_the_rest_of_a_body_that_was_answered_does_not_keep_a_connection(served: Served) -> None:
    connection = await served.connect()
    connection.send(b"POST /nowhere HTTP/1.1\r\nHost: pod\r\nContent-Length: 1000000\r\n\r\n")
    assert (await connection.one()).startswith(b"HTTP/1.1 404 ")
    assert await connection.trickle(endless()) < 1_000


async def test_an_answered_body_that_comes_whole_leaves_the_connection_usable(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "head_seconds", 20.0)
    connection = await served.connect()
    connection.send(b"POST /nowhere HTTP/1.1\r\nHost: pod\r\nContent-Length: 4\r\n\r\n")
    assert (await connection.one()).startswith(b"HTTP/1.1 404 ")
    connection.send(b"rest" + GET + b"\r\n")
    assert (await connection.one()).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_that_idles_between_requests_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.config, "timeout_keep_alive", 0.2)
    connection = await served.connect()
    connection.send(GET + b"\r\n")
    assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_that_is_used_is_kept_beyond_the_time_for_a_head(served: Served) -> None:
    connection = await served.connect()
    loop = asyncio.get_running_loop()
    until, answered = loop.time() + 1.0, 0
    while loop.time() < until:
        connection.send(GET + b"\r\n")
        assert (await connection.one()).startswith(b"HTTP/1.1 200 ")
        answered += 1
    assert answered > 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * (HEAD_BYTES + 1) + b" HTTP/1.1\r\nHost: pod\r\n\r\n",
        GET + b"X-Large: " + b"x" * (HEAD_BYTES + 1) + b"\r\n\r\n",
        GET + b"".join(b"X-Many-%d: x\r\n" % number for number in range(3_000)) + b"\r\n",
        GET + b"".join(b"x:\r\n" for _ in range(5_000)) + b"\r\n",
    ],
    ids=["request line", "one header", "many headers", "empty headers"],
)
async def test_a_head_that_is_too_large_is_refused(served: Served, head: bytes) -> None:
    connection = await served.connect()
    connection.send(head)
    answer = await connection.answer()
    assert answer.startswith(b"HTTP/1.1 431 "), answer[:200]
    assert b"urn:peerflow:problem:headers-too-large" in answer
    assert has_safe_headers(answer)


async def test_a_header_without_end_is_refused_before_it_fills_the_memory(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "head_seconds", 60.0)
    connection = await served.connect()
    connection.send(GET + b"X-Endless: ")
    part = b"x" * 4_096
    sent = await connection.trickle(endless(part), 0.005)
    assert sent * len(part) < 100 * HEAD_BYTES
    assert (await connection.answer())[:13] in {b"HTTP/1.1 431 ", b""}


async def test_a_head_just_below_the_limit_is_answered(served: Served) -> None:
    connection = await served.connect()
    connection.send(GET + b"X-Large: " + b"x" * (HEAD_BYTES - 300) + b"\r\n\r\n")
    assert (await connection.one()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"])
async def test_what_is_not_http_is_refused_in_the_same_form(served: Served, data: bytes) -> None:
    connection = await served.connect()
    connection.send(data)
    answer = await connection.answer()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"urn:peerflow:problem:request-invalid" in answer
    assert has_safe_headers(answer)


async def test_more_connections_than_the_limit_are_told_so_and_far_more_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "SPARE_CONNECTIONS", 2)
    served = Served()
    served.config.limit_concurrency = 3
    await served.start()
    held = [await served.connect() for _ in range(2)]
    for connection in held:
        connection.send(GET + b"\r\n")
        assert (await connection.one()).startswith(b"HTTP/1.1 200 ")
    third = await served.connect()
    third.send(GET + b"\r\n")
    answer = await third.answer()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"urn:peerflow:problem:busy" in answer
    assert has_safe_headers(answer)
    more = [await served.connect() for _ in range(4)]
    assert await more[-1].answer() == b""
    await served.stop()


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/healthz", None, 200),
        ("GET", "/runs", None, 401),
        ("POST", "/workflow", "reader", 403),
        ("GET", "/runs/01890a5d-ac96-774b-bcce-b302099a8057", "reader", 404),
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/runs", None, 405),
        ("GET", "/pods", "break", 500),
        ("GET", "/openapi.json", None, 200),
        ("HEAD", "/healthz", None, 200),
    ],
)
async def test_every_answer_has_the_headers_for_safety(served: Served, method: str, path: str, key: str | None, status: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        response = await client.request(method, path, headers={"x-key": key} if key else {})
    assert response.status_code == status
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    assert not {"server", "x-powered-by", "strict-transport-security"} & set(response.headers)


async def test_the_documentation_page_has_a_strict_policy_of_its_own(served: Served) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        response = await client.get("/docs")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy
    others = HEADERS.keys() - {"Content-Security-Policy"}
    assert {name: response.headers.get(name) for name in others} == {name: HEADERS[name] for name in others}
    assert "server" not in response.headers


async def test_browsers_are_told_to_use_tls_alone_where_it_is_in_front() -> None:
    served = await Served(hsts_seconds=31_536_000).start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        for path in ("/healthz", "/nowhere", "/docs"):
            assert (await client.get(path)).headers["strict-transport-security"] == "max-age=31536000"
    await served.stop()


def test_a_pod_of_its_own_process_serves_with_these_limits(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, hsts_seconds="60")
    try:
        [pod] = cluster.start(1)
        for sent, status in ((b"hello\r\n\r\n", b"400"), (GET + b"x:" + b"x" * (HEAD_BYTES + 1) + b"\r\n\r\n", b"431")):
            with socket.create_connection(("127.0.0.1", pod.port), timeout=20) as connection:
                connection.sendall(sent)
                answer = connection.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert has_safe_headers(answer)
        response = httpx.get(f"{pod.url}/healthz")
        assert response.headers["strict-transport-security"] == "max-age=60"
        assert "server" not in response.headers
    finally:
        cluster.close()
