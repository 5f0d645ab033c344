"""What is asked of a request's headers before its body is read."""

from __future__ import annotations

import re
from email.message import Message
from typing import Final

from starlette.requests import Request

from peerflow.api.problem import RequestRefused

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
LONGEST_KEY: Final = 255
_KEY: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def idempotency_key(request: Request) -> str | None:
    """The key that makes repeating the request safe; None where there is none. Raises RequestRefused (400) for one that cannot be a key."""
    keys = request.headers.getlist(IDEMPOTENCY_KEY)
    if not keys:
        return None
    if len(keys) == 1 and len(keys[0]) <= LONGEST_KEY and _KEY.fullmatch(keys[0]):
        return keys[0]
    if len(keys) > 1:
        found = f"{len(keys)} keys"
    elif len(keys[0]) > LONGEST_KEY:
        found = f"{len(keys[0])} characters"
    else:
        found = "an empty key" if not keys[0] else "characters outside printable ASCII"
    raise RequestRefused(
        400,
        "header-invalid",
        f"{IDEMPOTENCY_KEY} has {found}",
        remedy=f"send one key of 1 to {LONGEST_KEY} printable ASCII characters, such as a UUID",
        pointer=f"header/{IDEMPOTENCY_KEY}",
    )


def require_json(request: Request) -> None:
    """Raises RequestRefused (415) unless the body is declared to be plain JSON in UTF-8.

    A body without a declared type is refused too: a browser lets any web page send one to a pod on this machine, and asks the pod first
    only where the type is JSON.
    """
    declared = request.headers.get("content-type", "")
    message = Message()
    message["content-type"] = declared
    kind = message.get_content_type() if declared else ""
    charset = message.get_content_charset("utf-8")
    if not (kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))) or charset not in {"utf-8", "utf8"}:
        raise RequestRefused(
            415,
            "media-type-unsupported",
            f"the body is declared as {declared!r}" if declared else "the body's type is not declared",
            remedy="send JSON with the header Content-Type: application/json (`peerflow submit` also reads YAML)",
            pointer="header/Content-Type",
            headers={"Accept": "application/json"},
        )
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise RequestRefused(
            415,
            "media-type-unsupported",
            f"the body is encoded as {encoding!r}",
            remedy="send it as it is, without Content-Encoding",
            pointer="header/Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )
