"""Keys and tokens side by side, and pods that have only one of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.events import LoopFailed
from peerflow.api.authenticator import authenticator
from peerflow.auth import access, key_ring
from peerflow.auth.access import Access, open_access
from peerflow.auth.events import KeysRead
from peerflow.auth.identity import Refused, Scope
from peerflow.auth.key_ring import KeyRing
from peerflow.settings import Settings
from tests.support.api_keys import bearer, new_entry, write_keys
from tests.support.issuer import Issuer, token
from tests.support.waiting import wait_until_async
from tests.unit.api.conftest import Recorder, make_pod


async def test_a_pod_may_take_both(tmp_path: Path) -> None:
    key, entry = new_entry("ci", Scope.READ)
    both = Access(KeyRing(write_keys(tmp_path / "keys.json", entry)), Issuer().tokens())
    assert (await both.identify(key)).name == "ci"
    assert (await both.identify(token())).name == "ann@example.org"


async def test_what_looks_like_a_key_is_never_a_token_and_the_other_way_round(tmp_path: Path) -> None:
    key, entry = new_entry("ci", Scope.READ)
    ring, issuer = KeyRing(write_keys(tmp_path / "keys.json", entry)), Issuer()
    for one, credentials in ((Access(ring, None), token()), (Access(None, issuer.tokens()), key), (Access(None, None), key)):
        with pytest.raises(Refused, match="the key or token is not valid"):
            await one.identify(credentials)
    assert issuer.asked == []


def test_a_pod_without_either_asks_nobody() -> None:
    assert open_access(Settings.model_validate({}), Recorder()) is None


def test_a_file_that_cannot_be_used_names_its_setting(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"keys": [{}]}')
    with pytest.raises(ConfigError) as caught:
        open_access(Settings.model_validate({"api_keys_file": str(tmp_path / "keys.json")}), Recorder())
    assert len(caught.value.problems) == 4
    assert all(problem.startswith(f"PEERFLOW_API_KEYS_FILE: {tmp_path}/keys.json: keys[0]: ") for problem in caught.value.problems)


async def test_a_token_opens_what_its_scopes_say() -> None:
    pod = make_pod(authenticate=authenticator(Access(None, Issuer().tokens())))
    async with pod.client:
        assert (await pod.client.get("/runs", headers=bearer(token(scope="openid peerflow:read")))).status_code == 200
        assert (await pod.client.get("/runs", headers=bearer(token(scope="openid")))).status_code == 403
        assert (await pod.client.get("/runs", headers=bearer(token(exp=1)))).json()["detail"] == "the token has expired"


async def test_a_pod_that_cannot_reach_the_issuer_says_that_and_not_that_the_token_is_wrong() -> None:
    pod = make_pod(authenticate=authenticator(Access(None, Issuer(down=True).tokens())))
    async with pod.client:
        answer = await pod.client.get("/runs", headers=bearer(token()))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peerflow:problem:issuer-unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_look_that_fails_as_nobody_foresaw_is_told_of_and_the_next_one_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, old), (key, new) = new_entry("old", Scope.READ), new_entry("new", Scope.READ)
    ring, recorder = KeyRing(write_keys(tmp_path / "keys.json", old)), Recorder()
    signature, failures = key_ring.signature_of, [RuntimeError("unforeseen")]

    def failing_once(path: Path) -> key_ring.Signature | None:
        if failures:
            raise failures.pop()
        return signature(path)

    monkeypatch.setattr(key_ring, "signature_of", failing_once)
    monkeypatch.setattr(key_ring, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(access, "AGAIN_SECONDS", 0.001)
    running = asyncio.create_task(Access(ring, None).run(recorder))
    write_keys(tmp_path / "keys.json", new)
    try:
        await wait_until_async(lambda: len(recorder.events) == 2, "the file was read")
    finally:
        running.cancel()
    failed, read = recorder.events
    assert isinstance(failed, LoopFailed)
    assert failed.error == "RuntimeError('unforeseen')"
    assert read == KeysRead(file=str(tmp_path / "keys.json"), keys=1)
    assert ring.identify(key).name == "new"
