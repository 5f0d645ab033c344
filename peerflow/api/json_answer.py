"""JSON on its way out. What is written here was checked on its way in, so depth and duplicates are not looked at again."""

from __future__ import annotations

import json
from typing import Final

from starlette.responses import Response

MEDIA_TYPE: Final = "application/json"


def encode(value: object) -> bytes:
    """Compact JSON in UTF-8. Half a surrogate pair, which UTF-8 cannot carry, becomes its JSON escape. Raises ValueError for NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


class JsonAnswer(Response):
    """A response whose content is any JSON value, or JSON text already encoded."""

    media_type = MEDIA_TYPE

    def render(self, content: object) -> bytes:
        return content if isinstance(content, bytes) else encode(content)
