"""Which certificates are refused, and with which words; which URLs are."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from engine.errors import ConfigError, StorageCorrupt, StorageUnavailable
from storage import tls
from storage.connection import check_url, close, open_blocking_client, open_client, translated
from tests.support.certificates import Authority, listening

Ask = Callable[[str], Awaitable[None]]


async def ask_fast(url: str) -> None:
    """As a script call does."""
    client = open_client(url, timeout_seconds=5, connections=1, wait_seconds=1)
    try:
        with translated("rediss://h"):
            await cast("Any", client).evalsha("x", 0)
    finally:
        await close(client)


async def ask(url: str) -> None:
    client = open_client(url, timeout_seconds=5, connections=1, wait_seconds=1)
    try:
        with translated("rediss://h"):
            await client.time()
    finally:
        await close(client)


async def ask_blocking(url: str) -> None:
    """As the heartbeat thread does."""
    client = open_blocking_client(url, timeout_seconds=5)
    try:
        with translated("rediss://h"):
            client.time()
    finally:
        client.close()


each_client = pytest.mark.parametrize("client", [ask_fast, ask, ask_blocking])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def refusal(client: Ask, url: str) -> str:
    with pytest.raises(StorageUnavailable) as refused:
        await client(url)
    assert "rediss://h" in str(refused.value)
    return str(refused.value)


@each_client
async def test_a_server_whose_certificate_is_right_is_spoken_to(authority: Authority, client: Ask) -> None:
    with listening(*authority.issue("server", "127.0.0.1")) as port, pytest.raises(StorageCorrupt, match="this is no server"):
        await client(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}")


@each_client
async def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority, tmp_path: Path, client: Ask) -> None:
    (tmp_path / "other").mkdir()
    with listening(*authority.issue("server", "127.0.0.1")) as port:
        said = await refusal(client, f"rediss://127.0.0.1:{port}?ssl_ca_certs={Authority(tmp_path / 'other').file}")
        assert "nobody that this pod trusts has signed its certificate" in said
        assert "ssl_ca_certs=" in await refusal(client, f"rediss://127.0.0.1:{port}")


@each_client
async def test_a_certificate_for_another_name_is_refused(authority: Authority, client: Ask) -> None:
    with listening(*authority.issue("server", "redis.example.org")) as port:
        said = await refusal(client, f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}")
        assert "its certificate is for another name" in said
        said = await refusal(client, f"rediss://localhost:{port}?ssl_ca_certs={authority.file}")
        assert "its certificate is for another name" in said


@each_client
async def test_an_expired_certificate_is_refused(authority: Authority, client: Ask) -> None:
    with listening(*authority.issue("server", "127.0.0.1", expired=True)) as port:
        said = await refusal(client, f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}")
    assert "its certificate has expired" in said


@each_client
async def test_a_server_that_wants_a_client_certificate_gets_one_or_says_so(authority: Authority, client: Ask) -> None:
    certificate, key = authority.issue("client", "pod")
    with listening(*authority.issue("server", "127.0.0.1"), wants=authority.file) as port:
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.file}"
        with pytest.raises(StorageUnavailable):
            await client(url)
        with pytest.raises(StorageCorrupt, match="this is no server"):
            await client(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}")


@each_client
async def test_a_server_that_speaks_no_tls_is_told_from_one_that_is_away(client: Ask) -> None:
    with plain() as port:
        assert "it does not speak TLS on that port" in await refusal(client, f"rediss://127.0.0.1:{port}")


@contextmanager
def plain() -> Generator[int]:
    """A listener that answers anything as Redis does what it does not understand."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1024)
                connection.sendall(b"-ERR unknown command\r\n")

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("rediss://h?ssl_cert_reqs=none", "ssl_cert_reqs (none) must be required"),
        ("rediss://h?ssl_cert_reqs=optional", "ssl_cert_reqs (optional) must be required"),
        ("redis://h?ssl_ca_certs=ca.pem", "use rediss://"),
        ("rediss://h?ssl_ca_cert=ca.pem", "did you mean ssl_ca_certs?"),
        ("rediss://h?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs (/nowhere/ca.pem) cannot be read: No such file or directory"),
        ("rediss://h?ssl_certfile=/nowhere/a&ssl_keyfile=/nowhere/b", "ssl_keyfile (/nowhere/b) cannot be read"),
        ("rediss://h?ssl_ca_certs=/", "ssl_ca_certs (/) cannot be read: Is a directory"),
    ],
)
def test_a_url_that_is_not_safe_or_cannot_work_is_refused_with_the_remedy(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_url(url)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "url", ["rediss://h", "rediss://u:p@h:1/0?ssl_cert_reqs=required&ssl_check_hostname=true", "redis://h?socket_timeout=1"]
)
def test_any_other_url_is_taken(url: str) -> None:
    check_url(url)
    assert tls.warnings(url) == []


def test_a_url_that_looks_at_no_name_is_taken_with_a_warning() -> None:
    check_url("rediss://h?ssl_check_hostname=false")
    [warning] = tls.warnings("rediss://h?ssl_check_hostname=false")
    assert "can pose as the server" in warning


def test_errors_that_are_not_about_tls_get_no_words() -> None:
    assert tls.meaning(ConnectionRefusedError("refused")) == ""
    assert tls.meaning(ssl.SSLError("something else")) == ""


def test_contexts_are_shared_until_a_file_changes(authority: Authority) -> None:
    certificate, key = authority.issue("client", "pod")

    def context() -> ssl.SSLContext:
        connection = tls.Connection(ssl_ca_certs=str(authority.file), ssl_certfile=str(certificate), ssl_keyfile=str(key))
        return cast("ssl.SSLContext", connection._connection_arguments()["ssl"])  # pyright: ignore[reportPrivateUsage]

    first = context()
    assert context() is first
    authority.issue("client", "pod")
    assert context() is not first
    assert context() is context()
