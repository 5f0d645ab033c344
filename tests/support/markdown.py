"""The documentation as tests read it: code blocks, tables, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.pods import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")

PAGES = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and where it begins."""

    language: str
    text: str
    place: str


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], f"{path.name}:{text.count(chr(10), 0, match.start()) + 1}")
        for match in _FENCE.finditer(text)
        if match[1] == language
    ]


def without_blocks(text: str) -> str:
    return _FENCE.sub("", text)


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every line of every table, headers included; not their rules."""
    for line in without_blocks(text).splitlines():
        if line.startswith("|") and not line.startswith("| ---"):
            yield [cell.strip() for cell in _CELL.split(line.strip("|"))]


def sections(text: str, prefix: str) -> dict[str, str]:
    """Heading without `prefix` → the text up to the next heading of any level."""
    found: dict[str, str] = {}
    for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        if heading.startswith(prefix):
            found[heading.removeprefix(prefix).strip("` ")] = body
    return found


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    return [link for link in _LINK.findall(without_blocks(text)) if "://" not in link]
