"""Every refusal of the API as a problem document (RFC 9457, `application/problem+json`).

`{"type", "title", "status", "detail", "errors": [{"code", "pointer", "message", "remedy"}]}`. `errors` is never empty; a pointer is an
RFC 6901 pointer into the body, or names another part of the request: `query/limit`, `header/Idempotency-Key`, `path/run_id`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.responses import Response

from engine.errors import Problem
from peerflow.api.json_answer import encode

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:peerflow:problem:"
LONGEST_TEXT: Final = 2_000
"""Characters of one text: what was posted is quoted back, and may be large."""

TITLES: Final[dict[str, str]] = {
    "body-empty": "The request has no body",
    "body-invalid": "The body is refused",
    "body-slow": "The body came too slowly",
    "body-too-large": "The body is too large",
    "busy": "The pod is busy",
    "credentials-invalid": "The key or token is refused",
    "credentials-missing": "The call takes a key or token",
    "definition-invalid": "The definition is refused",
    "header-invalid": "A header is refused",
    "headers-slow": "The headers came too slowly",
    "headers-too-large": "The headers are too large",
    "idempotency-conflict": "The idempotency key belongs to another definition",
    "internal-error": "The pod failed",
    "issuer-unavailable": "The issuer of tokens cannot be reached",
    "json-invalid": "The body is not JSON as peerflow reads it",
    "list-closed": "The list of all runs is closed",
    "media-type-unsupported": "The body has the wrong type",
    "metrics-off": "The pod counts nothing",
    "method-not-allowed": "The method is not allowed here",
    "query-invalid": "The query is refused",
    "request-invalid": "The request is not HTTP",
    "route-not-found": "There is nothing at this address",
    "scope-missing": "The caller may not do this",
    "run-finished": "The run has already finished",
    "run-not-found": "The run does not exist",
    "storage-corrupt": "Stored data make no sense",
    "storage-full": "Redis is full",
    "storage-refused": "Redis refused the call",
    "storage-unavailable": "Redis cannot be reached",
    "task-not-found": "The task does not exist",
    "tenant-closed": "The tenant is closed to the caller",
    "too-many-requests": "The caller sends too many requests",
}


class RequestRefused(Exception):
    """A request is answered with this problem document instead of a result."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        remedy: str,
        pointer: str = "",
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, kind, detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.problems: tuple[Problem, ...] = (Problem(code=code or kind, pointer=pointer, message=detail, remedy=remedy),)
        self.headers = dict(headers or {})

    @classmethod
    def with_problems(cls, status: int, kind: str, problems: Iterable[Problem]) -> RequestRefused:
        """For several problems at once, of which the first is the detail."""
        listed = tuple(problems)
        first = listed[0]
        more = len(listed) - 1
        detail = f"{first.message}; {more} more problem{'s' if more > 1 else ''}" if more else first.message
        refused = cls(status, kind, detail, remedy=first.remedy)
        refused.problems = listed
        return refused

    def response(self) -> Response:
        document = {
            "type": TYPE_PREFIX + self.kind,
            "title": TITLES[self.kind],
            "status": self.status,
            "detail": _bounded(self.detail),
            "errors": [
                {
                    "code": problem.code,
                    "pointer": _bounded(problem.pointer),
                    "message": _bounded(problem.message),
                    "remedy": _bounded(problem.remedy),
                }
                for problem in self.problems
            ],
        }
        return Response(encode(document), status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE)


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
