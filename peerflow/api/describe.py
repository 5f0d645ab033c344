"""What OpenAPI says of the routes: their answers, the refusals they share, and examples that can be tried at /docs as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from engine.definition import WorkflowDefinition
from peerflow.api import problem
from peerflow.api.explain_models import EXPLAIN_EXAMPLE
from peerflow.api.models import ProblemDocument
from peerflow.auth.identity import Scope

SCHEMAS: Final = "#/components/schemas/"

SUMMARY: Final = "Workflows on identical pods, with Redis or Valkey as the only infrastructure."
DESCRIPTION: Final = """\
Any pod answers every call. `POST /workflow` stores a run and answers with its `run_id`; `GET /workflow_status/{run_id}` shows every task.

* **Refusals** are problem documents (RFC 9457): `errors` names each place with a JSON pointer, and the remedy. They leave nothing behind.
* **Lists** have `next_cursor` (or `next_after`): give it back for the next page; null is the end. Only it says whether there is more.
* **Instants** are RFC 3339 in UTC by Redis's clock, durations seconds.
"""

REFUSALS: Final[dict[int, str]] = {
    400: "The body is no JSON, or a header or query parameter is wrong",
    401: "Credentials are missing, or refused",
    403: "The credentials lack the scope that the call takes, or the list is another tenant's",
    404: "There is no such run or task",
    408: "The body came too slowly",
    409: "The run had finished first",
    413: "The body is too large",
    415: "The body is not declared as plain JSON",
    422: "The definition is refused, or the idempotency key belongs to another one",
    503: "Redis cannot be reached or refuses; `Retry-After` says when to try again",
    507: "Redis is full",
}

EXAMPLES: Final[dict[str, Any]] = {
    "steps": {
        "summary": "Steps: two tasks at once, then a third",
        "value": {"steps": [{"type": "parallel", "tasks": ["task_a", "task_b"]}, {"type": "sequential", "tasks": ["task_c"]}]},
    },
    "dag": {
        "summary": "DAG: tasks by id, with arguments, retries and a timeout",
        "value": {
            "name": "etl",
            "input": {"day": "2026-01-01"},
            "labels": {"team": "data"},
            "tasks": {
                "extract": {"task": "echo", "args": {"value": [1, 2, 3]}, "retry": {"max_attempts": 3}, "timeout": 30},
                "check": {"task": "task_a", "depends_on": ["extract"]},
                "load": {"task": "task_b", "depends_on": ["extract"]},
                "report": {"task": "task_c", "depends_on": ["check", "load"]},
            },
        },
    },
    "nested": {
        "summary": "Steps within steps, and a wait",
        "value": {
            "name": "nightly",
            "steps": [
                {
                    "type": "sequential",
                    "tasks": ["task_a", {"type": "parallel", "tasks": ["task_b", {"task": "sleep", "args": {"seconds": 2}}]}],
                },
                {"type": "sequential", "tasks": ["task_c"]},
            ],
        },
    },
}

BEARER: Final = "bearer"
SECURITY_SCHEME: Final[dict[str, Any]] = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (`pfk_…`) or a token of the pod's OIDC provider; its scopes say what it may do.",
}

DEFINITION_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": SCHEMAS + WorkflowDefinition.__name__}, "examples": EXAMPLES}},
    }
}
EXAMPLE_ANSWERS: Final[dict[str, Any]] = {"/runs/{run_id}/explain": EXPLAIN_EXAMPLE}
CANCEL_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"reason": {"type": "string", "minLength": 1, "maxLength": 500}},
                    "additionalProperties": False,
                },
                "examples": {"reason": {"summary": "With a reason", "value": {"reason": "wrong day"}}},
            }
        },
    }
}


def answers(model: type[BaseModel], description: str, *refusals: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its answer, and the problem documents that it may give instead. 503 belongs to all."""
    found: dict[int | str, dict[str, Any]] = {status: {"model": model, "description": description}}
    for refusal in sorted({*refusals, 503}):
        found[refusal] = refused(refusal)
    return found


def refused(status: int, description: str | None = None) -> dict[str, Any]:
    """The response with a problem document."""
    content = {problem.MEDIA_TYPE: {"schema": {"$ref": SCHEMAS + ProblemDocument.__name__}}}
    return {"description": description or REFUSALS[status], "content": content}


def install(app: FastAPI, scopes: Mapping[tuple[str, str], Scope | None], *, asks_for_credentials: bool) -> None:
    """Makes the application's OpenAPI document complete: adds the shapes of definitions and problems, and what each call takes of its
    caller; drops FastAPI's own 422. `scopes` has path and method of each route; without `asks_for_credentials` the pod lets in anybody."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
            _add_security(app.openapi_schema, scopes, optional=not asks_for_credentials)
        return app.openapi_schema

    app.openapi = openapi


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, summary=SUMMARY, description=DESCRIPTION, routes=app.routes, tags=app.openapi_tags
    )
    _, shapes = models_json_schema(
        [(WorkflowDefinition, "validation"), (ProblemDocument, "serialization")], ref_template=SCHEMAS + "{model}"
    )
    schemas: dict[str, Any] = document["components"]["schemas"]
    schemas.update(shapes["$defs"])
    # Not given to FastAPI, which would leave every null out of them.
    for path, example in EXAMPLE_ANSWERS.items():
        document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["example"] = example
    # FastAPI promises this answer for every route with parameters; ours to those are problem documents with status 400.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            refused = operation["responses"].get("422", {})
            if "application/json" in refused.get("content", {}):
                del operation["responses"]["422"]
    return document


def _add_security(document: dict[str, Any], scopes: Mapping[tuple[str, str], Scope | None], *, optional: bool) -> None:
    """Says of each call which scope it takes. A role beside a bearer scheme is OpenAPI 3.1's way to name it (§4.8.30)."""
    document["components"]["securitySchemes"] = {BEARER: SECURITY_SCHEME}
    for (path, method), scope in scopes.items():
        if scope is None:
            continue
        operation = document["paths"][path][method]
        # An empty requirement: the call is answered without credentials too.
        operation["security"] = [{}, {BEARER: [scope.value]}] if optional else [{BEARER: [scope.value]}]
        operation["description"] = f"Takes the scope `{scope.value}`" + (" where a pod asks for credentials." if optional else ".")
        responses = {**operation["responses"], "401": refused(401), "403": operation["responses"].get("403") or refused(403)}
        operation["responses"] = dict(sorted(responses.items()))
