"""The caller's own key: where it comes from, where it goes, and what a refusal looks like."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from engine.errors import ConfigError
from peerflow.client import ApiError, Client
from tests.support.fake_pod import RUN_ID, FakePods, problem_response, run_json
from tests.unit.cli.conftest import Cli

KEY = "pfk_Ab3dE5gH_" + "s" * 43
RUN = f"GET /runs/{RUN_ID}"


@pytest.fixture(autouse=True)
def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PEERFLOW_API_KEY", "PEERFLOW_API_KEY_FILE", "PEERFLOW_API_KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)


def sent(pods: FakePods) -> list[str | None]:
    return [request.headers.get("authorization") for request in pods.requests]


def client_of(pods: FakePods, key: str | None, urls: str = "http://a.example:8000") -> Client:
    return Client(urls, api_key=key, patience_seconds=0, transport=httpx.MockTransport(pods.handle))


def test_a_client_sends_its_key_with_each_request_and_none_where_it_has_none() -> None:
    pods = FakePods()
    pods.on(RUN, run_json())
    client_of(pods, KEY).run(RUN_ID)
    client_of(pods, f" {KEY}\n").run(RUN_ID)
    client_of(pods, None).run(RUN_ID)
    assert sent(pods) == [f"Bearer {KEY}", f"Bearer {KEY}", None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_the_key_nowhere(status: int) -> None:
    pods = FakePods()
    pods.on(RUN, httpx.Response(status, headers={"Location": "http://evil.example/"}))
    with pytest.raises(ApiError):
        client_of(pods, KEY).run(RUN_ID)
    assert [request.url.host for request in pods.requests] == ["a.example"]


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "\u00e9t\u00e9"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client_of(FakePods(), key)
    assert not key.strip() or key not in str(caught.value)


def test_the_command_line_takes_the_key_from_the_environment(cli: Cli, pods: FakePods, monkeypatch: pytest.MonkeyPatch) -> None:
    pods.on("GET /pods", {"pods": []})
    cli("pods")
    monkeypatch.setenv("PEERFLOW_API_KEY", KEY)
    cli("pods")
    assert sent(pods) == [None, f"Bearer {KEY}"]


def test_the_command_line_takes_the_key_from_a_file(cli: Cli, pods: FakePods, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pods.on("GET /pods", {"pods": []})
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.setenv("PEERFLOW_API_KEY_FILE", str(tmp_path / "key"))
    assert cli("pods").status == 0
    assert sent(pods) == [f"Bearer {KEY}"]


def test_a_file_without_a_key_and_two_sources_are_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PEERFLOW_API_KEY_FILE", str(tmp_path / "none"))
    assert "no such file or directory" in cli("pods").err
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv("PEERFLOW_API_KEY_FILE", str(tmp_path / "empty"))
    assert "the file is empty" in cli("pods").err
    monkeypatch.setenv("PEERFLOW_API_KEY", KEY)
    ended = cli("pods")
    assert (ended.status, "are both set" in ended.err, KEY in ended.err) == (2, True, False)


def test_a_caller_without_a_key_is_told_which_variable_to_set(cli: Cli, pods: FakePods, monkeypatch: pytest.MonkeyPatch) -> None:
    detail = "this call takes an API key or a token"
    error = {"code": "credentials-missing", "pointer": "header/Authorization", "message": detail, "remedy": "send one header"}
    pods.on("GET /pods", problem_response(401, "credentials-missing", detail, {**error}))
    ended = cli("pods")
    assert ended.status == 2
    assert f"error: {detail}\n  → set PEERFLOW_API_KEY to your key" in ended.err
    monkeypatch.setenv("PEERFLOW_API_KEY", KEY)
    assert "look at PEERFLOW_API_KEY: the key there is unknown to this pod, or has expired" in cli("pods").err


def test_a_caller_who_may_not_is_told_which_scope_it_takes(cli: Cli, pods: FakePods) -> None:
    detail, remedy = "ci may not do this: it takes the scope 'control'", "use a key or token with the scope 'control'"
    error = {"code": "scope-missing", "pointer": "", "message": detail, "remedy": remedy}
    pods.on(f"POST /runs/{RUN_ID}/cancel", problem_response(403, "scope-missing", detail, {**error}))
    ended = cli("cancel", RUN_ID)
    assert ended.status == 2
    assert f"error: {detail}\n  → {remedy}" in ended.err
