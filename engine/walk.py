"""Visits every value of a JSON document without recursion, and with memory for its depth only: a document may hold millions of values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

Path = list[str | int]


class Pairs:
    """An object in which a key stands more than once, as it was written."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def visit(value: object) -> Iterator[tuple[Path, object]]:
    """(path, value) of the value itself and of everything inside it, in the order of the document.

    The path is one list that changes as the walk goes on: copy it to keep it.
    """
    path: Path = []
    yield path, value
    open_containers = [iter(children(value))]
    while open_containers:
        for key, item in open_containers[-1]:
            path.append(key)
            yield path, item
            kind = type(item)
            if (kind is dict or kind is list or kind is Pairs) and item:
                open_containers.append(iter(children(item)))
                break
            path.pop()
        else:
            open_containers.pop()
            if path:
                path.pop()


def children(value: object) -> Iterable[tuple[str | int, object]]:
    """(key or position, value) of everything directly inside; nothing for what is no container."""
    if isinstance(value, dict):
        return cast(dict[str, object], value).items()
    if isinstance(value, list):
        return enumerate(cast(list[object], value))
    return value.pairs if isinstance(value, Pairs) else ()
