"""Tokens: which are believed, and the ways in which others try to be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from peerflow.auth import tokens as module
from peerflow.auth.identity import Identity, Refused, Scope
from peerflow.auth.key_ring import UNKNOWN
from peerflow.auth.tokens import LEEWAY_SECONDS, LONGEST_CHARS, claim, scopes_of
from tests.support.issuer import EC_KEY, ED_KEY, ISSUER, LIFE_SECONDS, OTHER_RSA_KEY, RSA_KEY, Issuer, claims, public, token

LATER, LONG_AGO = timedelta(seconds=120), timedelta(seconds=-LEEWAY_SECONDS - 5)
PUBLIC_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed_with_the_public_key() -> str:
    """What a verifier takes that lets the token choose: HS256, the published key as the secret. PyJWT itself will not make one."""
    text = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'rsa'})}.{part(claims())}"
    signature = hmac.new(PUBLIC_PEM, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def with_other_claims(genuine: str, **changes: Any) -> str:
    header, _, signature = genuine.split(".")
    return f"{header}.{part(claims(**changes))}.{signature}"


async def refusal(text: str, issuer: Issuer | None = None, **rules: str) -> str:
    with pytest.raises(Refused) as caught:
        await (issuer or Issuer()).tokens(**rules).identify(text)
    return str(caught.value)


@pytest.mark.parametrize("text", [token(), token(EC_KEY, algorithm="ES256", key_id="ec")], ids=["RS256", "ES256"])
async def test_a_token_of_the_issuer_is_believed(text: str) -> None:
    identity = await Issuer().tokens().identify(text)
    assert identity == Identity("ann@example.org", "default", frozenset({Scope.READ}), everywhere=False, expires_at=identity.expires_at)
    assert identity.expires_at is not None
    assert time.time() < identity.expires_at <= time.time() + LIFE_SECONDS


FORGED = {
    "no signature at all": f"{part({'alg': 'none', 'kid': 'rsa'})}.{part(claims())}.",
    "none in other letters": f"{part({'alg': 'nOnE', 'kid': 'rsa'})}.{part(claims())}.",
    "the public key as a shared secret": signed_with_the_public_key(),
    "another key under a known id": token(OTHER_RSA_KEY),
    "a key id that nobody has published": token(key_id="other"),
    "no key id": token(key_id=None),
    "a key id that is no text": f"{part({'alg': 'RS256', 'kid': ['rsa']})}.{part(claims())}.AAAA",
    "an algorithm that is not allowed": token(algorithm="RS512"),
    "an algorithm that does not fit the key": token(EC_KEY, algorithm="ES256", key_id="rsa"),
    "a key that the token brings along": token(OTHER_RSA_KEY, header={"jwk": public(OTHER_RSA_KEY, "rsa")}),
    "a genuine token with a key of its own": token(header={"jwk": public(RSA_KEY, "rsa")}),
    "an address of keys": token(header={"jku": "https://evil.example/keys"}),
    "an address of certificates": token(header={"x5u": "https://evil.example/certificates"}),
    "certificates": token(header={"x5c": ["MIIB"]}),
    "a critical header": token(header={"crit": ["exp"], "exp": 1}),
    "a compressed body": token(header={"zip": "DEF"}),
    "an ID token's type of another use": token(header={"typ": "logout+jwt"}),
    "other claims under a genuine signature": with_other_claims(token(), sub="root"),
    "two parts": ".".join(token().split(".")[:2]),
    "four parts": token() + ".e30",
    "no base64": "!!!.???.###",
    "no JSON": "AAAA.AAAA.AAAA",
    "a header that is a list": f"{part([])}.{part({})}.AAAA",
    "a very deep header": f"{base64.urlsafe_b64encode(b'[' * 4000).rstrip(b'=').decode()}.e30.AAAA",
    "not ASCII": token() + "\u00e9",
    "half of a surrogate": token() + "\udcff",
    "nothing": "",
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED.keys())
async def test_whatever_proves_nothing_is_refused_in_the_same_words(text: str) -> None:
    assert await refusal(text) == UNKNOWN


async def test_an_unencoded_payload_is_refused() -> None:
    detached = jwt.PyJWS().encode(json.dumps(claims()).encode(), RSA_KEY, "RS256", headers={"kid": "rsa", "b64": False})
    assert await refusal(detached) == UNKNOWN


async def test_a_huge_token_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(module.jwt, "get_unverified_header", never)
    assert await refusal("e" * (LONGEST_CHARS + 1)) == UNKNOWN


async def test_a_forged_token_makes_the_pod_ask_nobody_but_its_own_issuer() -> None:
    issuer = Issuer()
    for text in FORGED.values():
        await refusal(text, issuer)
    assert {address.startswith(ISSUER) for address in issuer.asked} == {True}


GENUINE = {
    "expired": ({"exp": LONG_AGO}, "the token has expired"),
    "of another issuer": ({"iss": ISSUER + "/"}, "the token is not for this service, or not yet"),
    "for another service": ({"aud": "mail"}, "the token is not for this service, or not yet"),
    "for several other services": ({"aud": ["mail", "peerflow2"]}, "the token is not for this service, or not yet"),
    "not valid yet": ({"nbf": LATER}, "the token is not for this service, or not yet"),
    "made in the future": ({"iat": LATER}, "the token is not for this service, or not yet"),
    "without an end": ({"exp": None}, "the token is not for this service, or not yet"),
    "without an audience": ({"aud": None}, "the token is not for this service, or not yet"),
    "without an issuer": ({"iss": None}, "the token is not for this service, or not yet"),
    "of nobody": ({"sub": None}, "the token is not for this service, or not yet"),
    "with an end that is no number": ({"exp": "soon"}, UNKNOWN),
    "with an endless end": ({"exp": float("inf")}, UNKNOWN),
    "with an issuer that is a list": ({"iss": [ISSUER]}, "the token is not for this service, or not yet"),
    "with an audience that is an object": ({"aud": {"peerflow": 1}}, "the token is not for this service, or not yet"),
    "with a subject of two lines": ({"sub": "ann\nroot"}, "the token's sub must be 1 to 256 printable characters"),
    "with an empty subject": ({"sub": ""}, "the token's sub must be 1 to 256 printable characters"),
}


@pytest.mark.parametrize(("changes", "beginning"), GENUINE.values(), ids=GENUINE.keys())
async def test_a_genuine_token_for_something_else_is_refused(changes: dict[str, Any], beginning: str) -> None:
    text = signed(claims(**changes))
    assert (await refusal(text)).startswith(beginning)


def signed(payload: dict[str, Any]) -> str:
    """PyJWT checks some claims when it makes a token; an issuer need not."""
    return jwt.PyJWS().encode(json.dumps(payload).encode(), RSA_KEY, "RS256", headers={"kid": "rsa"})


async def test_clocks_may_be_a_little_apart() -> None:
    await Issuer().tokens().identify(token(exp=timedelta(seconds=-10)))
    await Issuer().tokens().identify(token(nbf=timedelta(seconds=20)))


async def test_one_of_several_audiences_is_enough() -> None:
    await Issuer().tokens().identify(token(aud=["mail", "peerflow"]))


async def test_an_access_token_s_own_type_is_taken() -> None:
    await Issuer().tokens().identify(token(header={"typ": "at+jwt"}))


async def test_other_asymmetric_algorithms_can_be_allowed() -> None:
    issuer = Issuer(keys=[public(ED_KEY, "ed"), public(RSA_KEY, "rsa")])
    tokens = issuer.tokens("EdDSA", "PS256")
    assert (await tokens.identify(token(ED_KEY, algorithm="EdDSA", key_id="ed"))).name == "ann@example.org"
    assert (await tokens.identify(token(algorithm="PS256"))).name == "ann@example.org"
    with pytest.raises(Refused):
        await tokens.identify(token())


async def test_a_short_rsa_key_is_not_believed() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.warns(match="1024 bits"):
        text = token(weak, key_id="weak")
    assert await refusal(text, Issuer(keys=[public(weak, "weak")])) == UNKNOWN


async def test_a_key_of_another_curve_is_not_used_for_es256() -> None:
    issuer = Issuer(keys=[public(ec.generate_private_key(ec.SECP384R1()), "p384")])
    issuer.keys.append(public(RSA_KEY, "rsa"))
    assert await refusal(token(EC_KEY, algorithm="ES256", key_id="p384"), issuer) == UNKNOWN


async def test_a_verified_token_is_not_verified_again_and_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer()
    tokens = issuer.tokens()
    text = token()
    first = await tokens.identify(text)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was verified again")

    monkeypatch.setattr(module.jwt, "decode", never)
    assert await tokens.identify(text) is first
    issuer.late = LIFE_SECONDS + LEEWAY_SECONDS + 5
    with pytest.raises(Refused, match="expired"):
        await tokens.identify(text)


async def test_refused_tokens_are_not_kept_and_known_ones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KNOWN", 2)
    tokens = Issuer().tokens()
    for number in range(4):
        await tokens.identify(token(EC_KEY, algorithm="ES256", key_id="ec", sub=str(number)))
    with pytest.raises(Refused):
        await tokens.identify(token(OTHER_RSA_KEY))
    assert len(tokens) == 2


@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        ("read submit", {"read", "submit"}),
        ("peerflow:read  peerflow:control openid", {"read", "control"}),
        (["admin", 5, None, "x"], {"admin"}),
        ("reader READ read,submit", set[str]()),
        (None, set[str]()),
        ({"read": True}, set[str]()),
        (7, set[str]()),
    ],
)
def test_scopes_are_words_in_a_text_or_a_list(value: object, scopes: set[str]) -> None:
    assert scopes_of(value) == scopes


def test_a_claim_is_found_by_its_name_first_and_then_by_its_way() -> None:
    found = {"realm_access": {"roles": ["read"]}, "https://x.org/roles": ["submit"], "a.b": 1, "a": {"b": 2}}
    assert claim(found, "realm_access.roles") == ["read"]
    assert claim(found, "https://x.org/roles") == ["submit"]
    assert claim(found, "a.b") == 1
    assert claim(found, "realm_access.roles.x") is None
    assert claim(found, "no.such") is None


async def test_a_claim_names_the_tenant_where_the_settings_say_so() -> None:
    tokens = Issuer().tokens(tenant_claim="org.team")
    assert (await tokens.identify(token(org={"team": "blue"}))).tenant == "blue"
    everywhere = await tokens.identify(token(org={"team": "*"}))
    assert (everywhere.tenant, everywhere.everywhere) == ("default", True)
    for wrong in ({}, {"team": ""}, {"team": "a b"}, {"team": ["blue"]}):
        with pytest.raises(Refused, match=r"'org\.team' names no tenant"):
            await tokens.identify(token(org=wrong))


async def test_the_tenant_of_a_token_is_not_its_own_choice_where_no_claim_is_set() -> None:
    identity = await Issuer().tokens().identify(token(tenant="*", everywhere=True))
    assert (identity.tenant, identity.everywhere) == ("default", False)
