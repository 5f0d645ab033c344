"""Which commands the product sends, read from its code: scripts by their syntax trees, modules by theirs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import storage
from storage.scripts import NAMES, source
from tests.support.lua_tree import Program, command

PACKAGE = Path(storage.__file__).parent
FOR_TESTS = {"gate.py", "backstage.py"}
"""Loaded by no pod in production."""
CLIENTS = {"client", "_client", "_loops", "_inbox", "pipeline", "pipe"}
"""How modules call what sends commands."""
NO_COMMANDS = {"aclose", "client_of", "close", "execute", "pipeline", "script_connections"}


def in_scripts() -> set[str]:
    found = {command(call).lower() for name in NAMES for call in Program(source(name)).calls}
    return found - {""}


def from_clients() -> set[str]:
    """Names as an ACL has them: `get`, `script|load`."""
    return {name for path in PACKAGE.glob("*.py") if path.name not in FOR_TESTS for name in sent_by(path.read_text(encoding="utf-8"))}


def sent_by(code: str) -> set[str]:
    return {name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) for name in _sent(node)}


def _sent(call: ast.Call) -> Iterator[str]:
    if not isinstance(call.func, ast.Attribute) or _name(call.func.value) not in CLIENTS:
        return
    method = call.func.attr
    if method == "execute_command":
        [first, *_] = call.args
        assert isinstance(first, ast.Constant), f"line {call.lineno}: a command that is not written out"
        yield str(first.value).lower().replace(" ", "|")
    elif method == "pipeline":
        if not any(
            word.arg == "transaction" and isinstance(word.value, ast.Constant) and word.value.value is False for word in call.keywords
        ):
            yield from ("multi", "exec")
    elif method not in NO_COMMANDS and not method.startswith("_"):
        yield method.replace("_", "|")


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
