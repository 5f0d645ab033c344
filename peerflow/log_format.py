"""How a log record becomes text: one JSON object a line for machines, one coloured line for people.

Both escape control characters, so that no name, result or exception text can forge a line or drive a terminal, and both are bounded.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from typing import Final

MESSAGE_CHARS: Final = 8_192
FIELD_CHARS: Final = 2_048
FIELDS: Final = 24
TRACEBACK_CHARS: Final = 8_192
"""The bounds keep a line below 64 KiB unless most of it is escapes, and below 512 KiB whatever it is."""

_NO_FIELD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName", "traceback"}
# Control characters, line separators, and the marks that turn the direction of writing.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_BARE: Final = re.compile(r"[^\s\"=]+")
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


def escaped(text: str) -> str:
    """The text on one line, with every character that is not plain text written as an escape."""
    return _UNSAFE.sub(lambda match: _escape(ord(match[0])), text)


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What was given with `extra=`, without what has no value and without a traceback; at most FIELDS of them."""
    found = {name: value for name, value in record.__dict__.items() if name not in _NO_FIELD and value is not None}
    return dict(list(found.items())[:FIELDS])


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "event", "logger", "message", …}`; `event` is `log` for lines that are not peerflow's own events."""

    def __init__(self) -> None:
        super().__init__()
        self.pod_id = ""
        """On every line, once the pod has one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": _instant(record.created),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": _cut(record.getMessage(), MESSAGE_CHARS),
        }
        if self.pod_id:
            line["pod_id"] = self.pod_id
        for name, value in fields_of(record).items():
            if name in {"event", "pod_id"} or name not in line:
                line[name] = _plain(value)
        trace = _traceback(record)
        if trace:
            line["traceback"] = trace
        # Escaping everything beyond ASCII covers every character that a terminal or a log viewer could act upon, except DEL.
        return json.dumps(line, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")


class TextFormatter(logging.Formatter):
    """`12:30:01.123 info    run created  name=etl tasks=3`, and a traceback on lines of its own."""

    def __init__(self, *, colour: bool = False, names_pod: bool = False) -> None:
        super().__init__()
        self._colour = colour
        self._names_pod = names_pod
        self.pod_id = ""
        """On every line, once the pod has one and where it is asked for."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created)) + f".{int(record.msecs):03d}"
        level = f"{record.levelname.lower():<7}"
        found = fields_of(record)
        if found.pop("event", None) is None:
            found["logger"] = record.name
        if self._names_pod and self.pod_id:
            found.setdefault("pod_id", self.pod_id)
        fields = " ".join(f"{name}={_value(value)}" for name, value in found.items())
        message = escaped(_cut(record.getMessage(), MESSAGE_CHARS))
        if self._colour:
            clock = f"\x1b[2m{clock}\x1b[0m"
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
            fields = f"\x1b[2m{fields}\x1b[0m" if fields else ""
        line = f"{clock} {level} {message}" + (f"  {fields}" if fields else "")
        trace = _traceback(record)
        return line + "".join(f"\n    {escaped(part)}" for part in trace.splitlines()) if trace else line


def _instant(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    whole, millis = divmod(int(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{millis:03d}Z"


def _traceback(record: logging.LogRecord) -> str:
    """The end of the traceback, where the cause is: of the record's exception, or as text in its field `traceback`."""
    if record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info, limit=-20)).rstrip()
    else:
        text = str(getattr(record, "traceback", None) or "").rstrip()
    return text if len(text) <= TRACEBACK_CHARS else "…" + text[-TRACEBACK_CHARS:]


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value if value == value and value not in (float("inf"), float("-inf")) else str(value)  # noqa: PLR0124  (NaN is not itself)
    return _cut(str(value), FIELD_CHARS)


def _value(value: object) -> str:
    text = escaped(_cut(str(value), FIELD_CHARS))
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars] + "…"


def _escape(point: int) -> str:
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"
