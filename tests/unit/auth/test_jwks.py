"""The issuer's keys: which are used, when they are asked for, and what happens while the issuer is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm, HMACAlgorithm
from pydantic import JsonValue

from peerflow.auth.events import IssuerBack, IssuerLost
from peerflow.auth.fetch import FetchFailed
from peerflow.auth.identity import IssuerUnavailable, Refused
from peerflow.auth.jwks import ALGORITHMS, DISCOVERY, MOST_KEYS, OLDEST_SECONDS, RETRY_SECONDS, usable_keys
from tests.support.issuer import EC_KEY, ISSUER, JWKS_URL, OTHER_RSA_KEY, RSA_KEY, Issuer, public, token
from tests.support.waiting import wait_until_async

P384 = ec.generate_private_key(ec.SECP384R1())


def used(*keys: Any, algorithms: frozenset[str] = ALGORITHMS) -> set[tuple[str, str]]:
    return set(usable_keys({"keys": [public(RSA_KEY, "good", alg="RS256"), *keys]}, algorithms)[0]) - {("good", "RS256")}


def test_a_key_is_used_with_the_algorithms_that_fit_it() -> None:
    assert used(public(RSA_KEY, "a")) == {("a", name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")}
    assert used(public(EC_KEY, "a")) == {("a", "ES256")}
    assert used(public(P384, "a")) == {("a", "ES384")}
    assert used(public(RSA_KEY, "a"), algorithms=frozenset({"RS256", "ES256"})) == {("a", "RS256")}
    assert used(public(RSA_KEY, "a", alg="PS256")) == {("a", "PS256")}


WITH_PRIVATE_PART: dict[str, JsonValue] = {**ECAlgorithm.to_jwk(EC_KEY, as_dict=True), "kid": "a"}
UNUSABLE: dict[str, Any] = {
    "for encryption": public(RSA_KEY, "a", use="enc"),
    "for an algorithm that does not fit": public(EC_KEY, "a", alg="RS256"),
    "for a shared secret's algorithm": public(RSA_KEY, "a", alg="HS256"),
    "a shared secret": {**HMACAlgorithm.to_jwk("secret" * 10, as_dict=True), "kid": "a"},
    "with its private part": WITH_PRIVATE_PART,
    "without an id": {**public(RSA_KEY, "a"), "kid": None},
    "an id that is in use": public(OTHER_RSA_KEY, "good"),
    "broken": {**public(RSA_KEY, "a"), "n": "!"},
    "off its curve": {**public(EC_KEY, "a"), "x": "AA"},
    "of an unknown kind": {"kty": "LOX", "kid": "a"},
    "no object": "a",
}


@pytest.mark.parametrize("key", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_key_that_cannot_be_used_is_passed_over(key: Any) -> None:
    assert used(key) == set()


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": []}, {"keys": [UNUSABLE["for encryption"]]}])
def test_a_document_without_a_usable_key_is_refused(document: dict[str, JsonValue]) -> None:
    with pytest.raises(FetchFailed, match="no key is published for ES256"):
        usable_keys(document, frozenset({"ES256"}))


def test_no_more_keys_are_looked_at_than_an_issuer_needs() -> None:
    keys: list[JsonValue] = [public(EC_KEY, str(number)) for number in range(MOST_KEYS + 10)]
    assert len(usable_keys({"keys": keys}, ALGORITHMS)[0]) == MOST_KEYS


async def test_the_discovery_document_says_where_the_keys_are() -> None:
    issuer = Issuer()
    assert await issuer.published(jwks_url="").find("rsa", "RS256") is not None
    assert issuer.asked == [ISSUER + DISCOVERY, JWKS_URL]


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example", "jwks_uri": JWKS_URL},
        {"jwks_uri": JWKS_URL},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": JWKS_URL.replace("https", "http")},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
    ],
)
async def test_a_discovery_document_that_cannot_be_trusted_is_not(discovery: dict[str, JsonValue]) -> None:
    issuer = Issuer(discovery=discovery)
    with pytest.raises(IssuerUnavailable):
        await issuer.published(jwks_url="").find("rsa", "RS256")
    assert issuer.asked == [ISSUER + DISCOVERY]


async def test_a_new_key_is_found_and_an_unknown_one_asked_for_only_now_and_then() -> None:
    issuer = Issuer()
    published = issuer.published()
    await published.find("rsa", "RS256")
    for number in range(100):
        assert await published.find(f"made up {number}", "RS256") is None
    assert len(issuer.asked) == 1
    issuer.keys.append(public(OTHER_RSA_KEY, "new"))
    issuer.now += RETRY_SECONDS
    assert await published.find("new", "RS256") is not None
    assert len(issuer.asked) == 2


async def test_requests_that_wait_for_the_same_keys_ask_once() -> None:
    issuer = Issuer()
    published = issuer.published()
    found = await asyncio.gather(*(published.find("rsa", "RS256") for _ in range(50)))
    assert None not in found
    assert len(issuer.asked) == 1


async def test_a_key_that_is_being_fetched_is_waited_for() -> None:
    issuer = Issuer()
    published = issuer.published()
    await published.find("rsa", "RS256")
    issuer.keys.append(public(OTHER_RSA_KEY, "new"))
    issuer.now += RETRY_SECONDS
    found = await asyncio.gather(*(published.find("new", "RS256") for _ in range(50)))
    assert None not in found
    assert len(issuer.asked) == 2


async def test_keys_are_kept_for_a_day_while_the_issuer_does_not_answer_and_that_is_told_once() -> None:
    issuer = Issuer()
    published = issuer.published()
    await published.find("rsa", "RS256")
    issuer.down = True
    for _ in range(3):
        issuer.now += RETRY_SECONDS
        assert await published.find("unknown", "RS256") is None
    assert await published.find("rsa", "RS256") is not None
    assert [type(event) for event in issuer.recorder.events] == [IssuerLost]
    issuer.now += OLDEST_SECONDS
    with pytest.raises(IssuerUnavailable):
        await published.find("rsa", "RS256")
    issuer.down = False
    issuer.now += RETRY_SECONDS
    assert await published.find("rsa", "RS256") is not None
    assert issuer.recorder.events[1:] == [IssuerBack(issuer=ISSUER, keys=2)]


async def test_an_issuer_that_never_answered_makes_no_token_wrong() -> None:
    issuer = Issuer(down=True)
    tokens = issuer.tokens()
    for _ in range(2):
        with pytest.raises(IssuerUnavailable):
            await tokens.identify(token())
    assert len(issuer.asked) == 1


async def test_tokens_of_a_withdrawn_key_end_with_it() -> None:
    issuer = Issuer()
    tokens = issuer.tokens()
    text = token()
    await tokens.identify(text)
    issuer.keys.pop(0)
    issuer.now += RETRY_SECONDS
    with pytest.raises(Refused):
        await tokens.identify(token(key_id="unknown"))
    with pytest.raises(Refused):
        await tokens.identify(text)


async def test_tokens_stay_known_while_keys_are_only_added() -> None:
    issuer = Issuer()
    tokens = issuer.tokens()
    text = token()
    first = await tokens.identify(text)
    issuer.keys.append(public(OTHER_RSA_KEY, "new"))
    issuer.now += RETRY_SECONDS
    await tokens.identify(token(OTHER_RSA_KEY, key_id="new"))
    assert await tokens.identify(text) is first


async def test_keys_are_fetched_before_anybody_asks() -> None:
    issuer = Issuer()
    published = issuer.published()
    keeping = asyncio.create_task(published.keep_fresh())
    try:
        await wait_until_async(lambda: len(published) == 2, "the keys are there")
    finally:
        keeping.cancel()
    assert await published.find("rsa", "RS256") is not None
    assert len(issuer.asked) == 1
