"""Plants bugs in the scripts on their way to the server, to see whether tests notice."""

from __future__ import annotations

from collections.abc import Callable

from storage.scripts import all_scripts


def replacing(script: str, old: str, new: str) -> Callable[[str, str], str]:
    """A rewrite of one script."""

    def rewrite(name: str, text: str) -> str:
        if name != script:
            return text
        assert old in text, f"{script} has changed: the bug cannot be planted"
        return text.replace(old, new)

    return rewrite


def replacing_everywhere(old: str, new: str) -> Callable[[str, str], str]:
    """A rewrite of what several scripts share."""
    assert any(old in text for _, text in all_scripts()), "the scripts have changed: the bug cannot be planted"
    return lambda name, text: text.replace(old, new)  # noqa: ARG005  # a rewrite is given both
