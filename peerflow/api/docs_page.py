"""`/docs`: Swagger UI, served whole by the pod, so that it works without the internet and under a strict Content-Security-Policy.

The script and the style sheet are swagger-ui's own (Apache-2.0), as the package fastapi-offline (MIT) carries them.
"""

from __future__ import annotations

import html
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

ASSETS: Final[dict[str, tuple[str, str]]] = {
    "swagger-ui.js": ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "swagger-ui.css": ("swagger-ui.css", "text/css; charset=utf-8"),
}
# Swagger UI styles its parts with attributes, and draws small pictures from data URLs.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HOUR: Final = {"Cache-Control": "public, max-age=3600"}

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"><noscript>This page needs JavaScript; the same is in <a href="openapi.json">openapi.json</a>.</noscript></div>
<script src="docs/swagger-ui.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START: Final = """\
window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""


def install(app: FastAPI) -> None:
    """Adds the page and its assets. Links are relative, so that a proxy may put the pod under a path of its own."""
    page = HTMLResponse(PAGE.format(title=html.escape(app.title)), headers={"Content-Security-Policy": PAGE_POLICY})

    async def docs(_: Request) -> Response:
        return page

    async def start(_: Request) -> Response:
        return Response(START, media_type="text/javascript; charset=utf-8", headers=HOUR)

    async def asset(request: Request) -> Response:
        return _asset(request.url.path.rsplit("/", 1)[1])

    app.add_route("/docs", docs, methods=["GET"], include_in_schema=False)
    app.add_route("/docs/start.js", start, methods=["GET"], include_in_schema=False)
    for name in ASSETS:
        app.add_route(f"/docs/{name}", asset, methods=["GET"], include_in_schema=False)


@cache
def _asset(name: str) -> Response:
    """One asset, read once and kept. A plain response: one for files would also serve Range headers (CVE-2025-62727)."""
    file, media_type = ASSETS[name]
    return Response((files("fastapi_offline") / "static" / file).read_bytes(), media_type=media_type, headers=HOUR)
