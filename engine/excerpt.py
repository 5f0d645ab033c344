"""Cuts a large document down, so that the mistakes in its first part can be described without describing all of them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from pydantic import JsonValue

MAX_LEVELS = 80
"""Deeper than any definition that is accepted; what is deeper is kept as it is."""


def excerpt(value: JsonValue, width: int, fields: Collection[str], level: int = 0) -> JsonValue:
    """The value with at most `width` children in each array and object; pointers into the excerpt hold in the document too.

    Children named in `fields` are always kept: an excerpt must not lack a field that the document has.
    """
    if level > MAX_LEVELS:
        return value
    if isinstance(value, list):
        return [excerpt(item, width, fields, level + 1) for item in islice(value, width)]
    if isinstance(value, dict):
        kept = dict(islice(value.items(), width)) | {name: value[name] for name in fields if name in value}
        return {key: excerpt(item, width, fields, level + 1) for key, item in kept.items()}
    return value
