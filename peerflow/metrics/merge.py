"""Several pods' metrics as one text: each family once, and of each sample which pod it is of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

LABEL: Final = "process"
"""Not `pod`: that is what Prometheus calls the target, which all of them are together."""
_END: Final = "# EOF"
_COMMENT: Final = re.compile(r"# (?:HELP|TYPE|UNIT) (\S+)")
_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?")


def merged(texts: Mapping[str, str]) -> str:
    """Texts by pod, in Prometheus' format or all as OpenMetrics → one text in that format."""
    comments: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for name, text in texts.items():
        family = ""
        for line in text.splitlines():
            if comment := _COMMENT.match(line):
                family = comment[1]
                known = comments.setdefault(family, [])
                if line not in known:
                    known.append(line)
            elif line and line != _END:
                samples.setdefault(family, []).append(_labelled(line, name))
    lines = [line for family, known in comments.items() for line in (*known, *samples.get(family, []))]
    if any(text.rstrip().endswith(_END) for text in texts.values()):
        lines.append(_END)
    return "\n".join([*lines, ""])


def _labelled(sample: str, name: str) -> str:
    found = _SAMPLE.match(sample)
    if found is None:
        return sample
    rest = sample[found.end() :]
    return f'{found[1]}{{{LABEL}="{name}",{rest}' if found[2] else f'{found[1]}{{{LABEL}="{name}"}}{rest}'
