"""What URLs of several servers say, and which of them are refused."""

from __future__ import annotations

import pytest

from storage.server_url import ServerUrl, shown_address


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        (
            "redis+sentinel://me:s%40crt@a:1,b,[::1]:3/mymaster/2?sentinel_username=them&sentinel_password=other&ssl_ca_certs=/ca.pem",
            ServerUrl(
                "sentinel",
                (("a", 1), ("b", 26379), ("::1", 3)),
                "mymaster",
                "redis://me:s%40crt@host/2?ssl_ca_certs=%2Fca.pem",
                tls=False,
                asked_as=("them", "other"),
            ),
        ),
        (
            "rediss+sentinel://a/mymaster",
            ServerUrl("sentinel", (("a", 26379),), "mymaster", "redis://host/0", tls=True, asked_as=(None, None)),
        ),
        (
            "rediss+cluster://me:s%40crt@a:1,b",
            ServerUrl("cluster", (("a", 1), ("b", 6379)), "", "redis://me:s%40crt@host/0", tls=True, asked_as=("me", "s@crt")),
        ),
        ("redis+cluster://:pw@a/0", ServerUrl("cluster", (("a", 6379),), "", "redis://:pw@host/0", tls=False, asked_as=(None, "pw"))),
        ("rediss://u:p@a:1/0", ServerUrl("server", (), "", "rediss://u:p@a:1/0", tls=True, asked_as=(None, None))),
    ],
)
def test_a_url_of_several_servers_is_taken_apart(url: str, parts: ServerUrl) -> None:
    assert ServerUrl.parse(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel:///mymaster",
        "redis+sentinel://a,/mymaster",
        "redis+sentinel://a:0/mymaster",
        "redis+sentinel://a:65536/mymaster",
        "redis+sentinel://a/mymaster/x",
        "redis+sentinel://a/my master",
        "redis+cluster://",
        "redis+cluster://a/1",
        "redis+cluster://a b",
        "valkey://a",
    ],
)
def test_a_url_that_names_nobody_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as found:
        ServerUrl.parse(url)
    assert url not in str(found.value)


def test_an_address_is_shown_as_it_stands_in_urls() -> None:
    assert [shown_address(("a", 1)), shown_address(("::1", 2))] == ["a:1", "[::1]:2"]
