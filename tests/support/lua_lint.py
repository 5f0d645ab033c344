"""Rules for scripts, checked on their syntax trees. Each function answers what breaks its rule, a line for each place."""

from __future__ import annotations

import re

from tree_sitter import Node

from storage import keys
from tests.support.lua_source import READS, WRITES
from tests.support.lua_tree import LOOPS, Program, arguments, command, inside, line_of, text

GLOBALS = frozenset(
    {"KEYS", "ARGV", "redis", "cmsgpack", "string", "table", "math", "tonumber", "tostring", "ipairs", "pairs", "next", "unpack", "type"}
)
MEMBERS = {
    "redis": {"call", "acl_check_cmd"},
    "cmsgpack": {"pack", "unpack"},
    "math": {"min", "max", "floor", "ceil", "abs", "huge"},
    "string": {"find", "format", "gmatch", "gsub", "match", "sub"},
    "table": {"concat", "insert", "sort"},
}
"""What scripts may use; everything else is random, unbounded, loses digits, or is not there on every server."""
ANY_TYPE = frozenset({"DEL", "EXISTS", "PERSIST", "PEXPIRE", "PTTL"})
OBJECTS = {"run.key": "run:<>", "lane.key": "lane:<>", "note.key": "waits:<>"}
"""Fields that hold keys."""
RANGES = {"ZRANGE": 3, "ZREVRANGE": 3, "LRANGE": 3, "ZPOPMAX": 2, "ZPOPMIN": 2}
"""Reads of many members → the argument that says where they end."""


def plain(name: str) -> str:
    """A key's name with `<>` for each part that varies."""
    return re.sub(r"<[^>]*>(/<[^>]*>)?", "<>", name)


def key_types() -> dict[str, str]:
    """Name → type, from the table in storage/keys.py."""
    rows = [line.split("|") for line in (keys.__doc__ or "").splitlines() if line.startswith("| `")]
    return {plain(name): row[2].strip() for row in rows for name in re.findall(r"`([^`]+)`", row[1])}


# Only what is allowed


def foreign_names(program: Program) -> list[str]:
    """Globals that scripts must not use, and globals that they make: cjson, pcall, random numbers, os, io, further KEYS."""
    found: list[str] = []
    for node in inside(program.root):
        if node.type == "dot_index_expression":
            table, field = text(node.named_children[0]), text(node.named_children[1])
            if table in MEMBERS and not program.is_local(node.named_children[0]) and field not in MEMBERS[table]:
                found.append(f"{table}.{field}")
        elif (node.type == "bracket_index_expression" and text(node.named_children[0]) == "KEYS" and text(node) != "KEYS[1]") or (
            node.type == "identifier" and not _is_field(node) and text(node) not in GLOBALS and not program.is_local(node)
        ):
            found.append(text(node))
    return sorted(set(found))


def _is_field(node: Node) -> bool:
    parent = node.parent
    if parent is None:
        return False
    if parent.type in {"dot_index_expression", "method_index_expression"}:
        return parent.named_children[0] != node
    return parent.type == "field" and parent.child_by_field_name("name") == node


def unknown_commands(program: Program) -> list[str]:
    """Commands that are in neither list, that are not written out, and TIME outside the one place that has it."""
    found: list[str] = []
    for call in program.calls:
        if text(call.child_by_field_name("name")) == "redis.call":
            name = command(call)
            if name not in READS | WRITES or arguments(call)[0].type != "string":
                found.append(f"line {line_of(call)}: {name}")
            elif name == "TIME" and not text(call.parent and call.parent.parent).startswith("clock"):
                found.append(f"line {line_of(call)}: TIME")
    return found


# Keys


def unknown_keys(program: Program) -> list[str]:
    """Commands on keys that are not in the table of keys, or of another type there."""
    types, found = key_types(), list[str]()
    for call in program.calls:
        name = command(call)
        for argument in arguments(call)[1:] if name == "DEL" else arguments(call)[1:2]:
            if name in READS | WRITES and name != "TIME":
                found += [f"line {line_of(call)}: {name} {why}" for why in _wrong_with(program, name, argument, program.home(call), types)]
    return found


def _wrong_with(program: Program, name: str, argument: Node, home: str, types: dict[str, str]) -> list[str]:
    names = key_names(program, argument, home)
    if not names:
        return [f"of what? {text(argument)}"]
    wanted = "string" if name in {"GET", "SET"} else {"H": "hash", "L": "list", "R": "list", "Z": "zset", "X": "stream"}.get(name[0])
    wrong: list[str] = []
    for key in names:
        kinds = {kind for known, kind in types.items() if re.fullmatch(re.escape(key).replace("<>", "[^:]+"), known)}
        if not kinds:
            wrong.append(f"on {key}, which is in no table")
        elif name not in ANY_TYPE and kinds != {wanted}:
            wrong.append(f"on {key}, which is a {'/'.join(sorted(kinds))}")
    return wrong


def key_names(program: Program, node: Node, home: str) -> set[str]:
    """The keys that an expression can name, with `<>` for what varies; empty where that cannot be told."""
    if node.type == "function_call" and text(node.child_by_field_name("name")) == "unpack":
        return _appended(program, text(arguments(node)[0]))
    if node.type == "binary_expression" and text(node.children[1]) in {"and", "or"}:
        return set[str]().union(*(key_names(program, side, home) for side in node.named_children))
    if node.type == "binary_expression":
        return _joined(program, _operands(node), home) if text(node.children[1]) == ".." else set()
    if text(node) == "T":
        return {""}
    if text(node) in OBJECTS:
        return {OBJECTS[text(node)]}
    if node.type == "identifier":
        values = [value for value in program.values(text(node), home) if value is not None and text(value) != "nil"]
        return set[str]().union(*(key_names(program, value, home) for value in values))
    return set()


def _operands(node: Node) -> list[Node]:
    """Of `a .. b .. c`, however it is nested."""
    if node.type != "binary_expression" or text(node.children[1]) != "..":
        return [node]
    return [operand for side in node.named_children for operand in _operands(side)]


def _joined(program: Program, parts: list[Node], home: str) -> set[str]:
    tail = "".join(text(part).strip("'") if part.type == "string" else "<>" for part in parts[1:])
    return {re.sub("(<>)+", "<>", head + tail) for head in key_names(program, parts[0], home)}


def _appended(program: Program, table: str) -> set[str]:
    found: set[str] = set()
    for node in inside(program.root):
        if node.type == "assignment_statement" and text(node).startswith(f"{table}["):
            found |= key_names(program, node.named_children[1].named_children[0], program.home(node))
    return found


# Bounds


def unbounded(program: Program) -> list[str]:
    """Loops and reads without a bound that can be seen: a number, an argument, the length of what is already in memory. A `while` says
    its bound in a comment before it. Together with bounded reads and no recursion, no call goes on for ever."""
    found = [
        f"line {line_of(node)}: {text(node).splitlines()[0]}"
        for node in inside(program.root)
        if node.type in LOOPS and not _loop_bound(program, node)
    ]
    for call in program.calls:
        name, given = command(call), arguments(call)
        if name in RANGES and not (
            len(given) > RANGES[name]
            and _bounded(program, given[RANGES[name]], program.home(call), {text(given[2])} if RANGES[name] == 3 else set())
        ):
            found.append(f"line {line_of(call)}: {text(call)}")
        elif name == "ZRANGEBYSCORE":
            limit = next((place for place, argument in enumerate(given) if text(argument) == "'LIMIT'"), None)
            if limit is None or not _bounded(program, given[limit + 2], program.home(call), set()):
                found.append(f"line {line_of(call)}: {text(call)}")
    return found + [f"{name} calls itself" for name in program.functions if name in _callees(program, name, set())]


def _loop_bound(program: Program, loop: Node) -> bool:
    clause = loop.named_children[0]
    if clause.type == "for_numeric_clause":
        return _bounded(program, clause.named_children[2], program.home(loop), set())
    if clause.type == "for_generic_clause":
        return text(clause).split(" in ", 1)[1].startswith(("ipairs(", "pairs(", "string.gmatch("))
    return program.lines[line_of(loop) - 2].strip().startswith("-- bound: ")


def _bounded(program: Program, node: Node, home: str, known: set[str]) -> bool:
    said = text(node)
    if said in known or node.type == "number" or said.startswith(("#", "ARGV[")):
        return True
    known = known | {said}
    if node.type == "binary_expression":
        compares = text(node.children[1]) in {"==", "~=", "<", ">", "<=", ">="}
        return compares or all(_bounded(program, side, home, known) for side in node.named_children)
    if node.type == "function_call":
        bounds = [_bounded(program, argument, home, known) for argument in arguments(node)]
        called = text(node.child_by_field_name("name"))
        return (called == "math.min" and any(bounds)) or (called in {"tonumber", "math.floor", "math.max"} and all(bounds))
    if node.type == "identifier" and said in program.parameters(home):
        return all(_bounded(program, value, place, known) for value, place in program.given(home, said))
    if node.type == "identifier":
        values = program.values(said, home)
        return bool(values) and all(value is not None and _bounded(program, value, home, known) for value in values)
    return False


def _callees(program: Program, name: str, seen: set[str]) -> set[str]:
    for node in inside(program.functions[name]):
        called = text(node.child_by_field_name("name")) if node.type == "function_call" else ""
        if called in program.functions and called not in seen:
            seen.add(called)
            _callees(program, called, seen)
    return seen
