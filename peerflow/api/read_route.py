"""Routes that only read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from storage.repeat import until_answered

READ_SECONDS: Final = 3.0
"""How long a reader waits through a blink of Redis; as long as a post does."""


class ReadRoute(APIRoute):
    """Reads again where Redis did not answer.

    A connection that Redis has closed is noticed when it is used. After a restart each connection of the pool costs one failure, of which
    callers shall not see any.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def repeat(request: Request) -> Response:
            return await until_answered(lambda: handle(request), within_seconds=READ_SECONDS)

        return repeat
