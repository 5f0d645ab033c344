"""The fixtures themselves: a check that cannot fail would guard nothing."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import re

import pytest

from tests.support.key_leaks import KeyLeaks
from tests.support.servers import Server, connect, scan


def test_each_server_answers_and_names_its_make(server: Server) -> None:
    with connect(server.url) as client:
        info = client.info("server")

    assert info.get("server_name", "redis") == ("redis" if server.name == "redis:8" else "valkey")


def test_key_without_a_ttl_is_reported_and_removed(valkey_url: str, namespace: str) -> None:
    leaks = KeyLeaks()
    leaks.watch(valkey_url, namespace)
    with connect(valkey_url) as client:
        client.set(f"{{{namespace}:0}}:leaked", "1")
        client.set(f"{{{namespace}:0}}:expiring", "1", ex=60)
        client.set("another-namespace", "1", ex=60)

        with pytest.raises(AssertionError, match=re.escape(f"on no allow-list: {{{namespace}:0}}:leaked") + "$"):
            leaks.check()

        assert scan(client, f"*{namespace}*") == []
        assert client.get("another-namespace") == "1"


def test_key_that_a_test_leaves_on_purpose_is_not_reported(valkey_url: str, namespace: str) -> None:
    leaks = KeyLeaks()
    leaks.watch(valkey_url, namespace)
    leaks.allow(":0}:run:*", "the run goes on")
    with connect(valkey_url) as client:
        client.set(f"{{{namespace}:0}}:run:1", "1")

    leaks.check()
