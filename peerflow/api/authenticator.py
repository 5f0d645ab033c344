"""Who sent a request: the caller whose key or token stands in its Authorization header (RFC 6750 §2.1), and nowhere else."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from peerflow.api.callers import Authenticate, Caller
from peerflow.api.problem import RequestRefused
from peerflow.api.refusals import RETRY_SECONDS
from peerflow.auth.access import Access
from peerflow.auth.identity import IssuerUnavailable, Refused

HEADER: Final = "Authorization"
REALM: Final = 'Bearer realm="peerflow"'
SEND: Final = "send one header `Authorization: Bearer KEY`, with an API key or a token"


def authenticator(access: Access) -> Authenticate:
    """The application's `authenticate` for pods that ask for credentials."""

    async def authenticate(request: Request) -> Caller:
        credentials = _credentials(request)
        try:
            identity = await access.identify(credentials)
        except Refused as error:
            remedy = "use a key from the pod's file of keys or a token of its issuer that has not expired"
            raise _refused("credentials-invalid", str(error), remedy, ', error="invalid_token"') from None
        except IssuerUnavailable as error:
            headers = {"Retry-After": str(RETRY_SECONDS)}
            remedy = "try again, or use an API key"
            raise RequestRefused(503, "issuer-unavailable", str(error), remedy=remedy, headers=headers) from None
        return Caller(identity.name, identity.tenant, identity.scopes, everywhere=identity.everywhere)

    return authenticate


def _credentials(request: Request) -> str:
    """The key or token as it was sent. Raises RequestRefused (401) where there is none, or more than one."""
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not given:
        raise _refused("credentials-missing", "this call takes an API key or a token", SEND)
    scheme, _, credentials = given[0].decode("latin-1").partition(" ")
    credentials = credentials.strip(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not credentials:
        raise _refused("credentials-invalid", f"{HEADER} is not one bearer key or token", SEND)
    return credentials


def _refused(kind: str, detail: str, remedy: str, error: str = "") -> RequestRefused:
    headers = {"WWW-Authenticate": REALM + error}
    return RequestRefused(401, kind, detail, remedy=remedy, pointer=f"header/{HEADER}", headers=headers)
