"""A script with its shared parts, parsed: functions, calls, where names come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

import tree_sitter_lua
from tree_sitter import Language, Node, Parser

PARSER = Parser(Language(tree_sitter_lua.language()))
FUNCTIONS = frozenset({"function_declaration", "function_definition"})
LOOPS = frozenset({"for_statement", "while_statement", "repeat_statement"})


def text(node: Node | None) -> str:
    return "" if node is None or node.text is None else node.text.decode()


def inside(node: Node, *, functions: bool = True) -> Iterator[Node]:
    """The nodes below this one, in the order of the text; without `functions`, none that a function inside holds."""
    for child in node.named_children:
        yield child
        if functions or child.type not in FUNCTIONS:
            yield from inside(child, functions=functions)


def arguments(call: Node) -> list[Node]:
    given = call.child_by_field_name("arguments")
    return [] if given is None else [node for node in given.named_children if node.type != "comment"]


def command(call: Node) -> str:
    """The Redis command of `redis.call('…', …)`, or an empty text."""
    return text(arguments(call)[0]).strip("'\"") if text(call.child_by_field_name("name")) in {"redis.call", "redis.pcall"} else ""


def line_of(node: Node) -> int:
    return node.start_point.row + 1


class Program:
    """The text of a script: `functions` by name, everything else under the name `body`."""

    def __init__(self, lua: str) -> None:
        self.lines = lua.splitlines()
        # The flags are no Lua; a line keeps its number.
        self.root = PARSER.parse(re.sub(r"\A#![^\n]*", "", lua).encode()).root_node
        if self.root.has_error:
            raise SyntaxError(f"not Lua: line {next(line_of(node) for node in inside(self.root) if node.has_error)}")
        self._blocks: dict[int, dict[str, list[Node]]] = {}
        self.functions = {text(node.child_by_field_name("name")): node for node in inside(self.root) if node.type == "function_declaration"}

    @cached_property
    def calls(self) -> list[Node]:
        return [node for node in inside(self.root) if node.type == "function_call"]

    def home(self, node: Node) -> str:
        """The named function that the node is in, or `body`."""
        at = node.parent
        while at is not None and at.type != "function_declaration":
            at = at.parent
        return "body" if at is None else text(at.child_by_field_name("name"))

    def values(self, name: str, home: str) -> list[Node | None]:
        """What is assigned to a local name in a function, or in the body where the function has no such name; None for one that is given
        otherwise, by a loop or by a call that answers several values."""
        found: list[Node | None] = []
        for node in inside(self.root if home == "body" else self.functions[home], functions=home != "body"):
            if node.type == "assignment_statement":
                names, values = (side.named_children for side in node.named_children)
                for place, target in enumerate(names):
                    if text(target) == name:
                        found.append(values[place] if place < len(values) else None)
            elif node.type in {"for_generic_clause", "for_numeric_clause"} and name in text(node.named_children[0]).split(", "):
                found.append(None)
        return found or (self.values(name, "body") if home != "body" else [])

    def parameters(self, home: str) -> list[str]:
        node = self.functions[home].child_by_field_name("parameters") if home != "body" else None
        return [] if node is None else [text(child) for child in node.named_children]

    def given(self, home: str, parameter: str) -> list[tuple[Node, str]]:
        """What the callers of a function give for a parameter, and where each is."""
        place = self.parameters(home).index(parameter)
        return [
            (arguments(call)[place], self.home(call))
            for call in self.calls
            if text(call.child_by_field_name("name")) == home and place < len(arguments(call))
        ]

    def is_local(self, node: Node) -> bool:
        """Whether the name is declared before this place, in a block around it."""
        name, at = text(node), node
        while at.parent is not None:
            around = at.parent
            given = around.child_by_field_name("parameters") if around.type in FUNCTIONS else None
            if given is not None and any(text(parameter) == name for parameter in given.named_children):
                return True
            if around.type == "for_statement" and name in text(around.named_children[0].named_children[0]).split(", "):
                return True
            if any(sibling.start_byte <= at.start_byte for sibling in self._declared(around).get(name, ())):
                return True
            at = around
        return False

    def _declared(self, block: Node) -> dict[str, list[Node]]:
        """Local name → where this block declares it."""
        if block.id not in self._blocks:
            found: dict[str, list[Node]] = {}
            for child in block.named_children:
                if child.type == "variable_declaration":
                    first = child.named_children[0]
                    names = text(first.named_children[0] if first.type == "assignment_statement" else first).split(", ")
                elif child.type == "function_declaration" and text(child).startswith("local"):
                    names = [text(child.child_by_field_name("name"))]
                else:
                    continue
                for name in names:
                    found.setdefault(name, []).append(child)
            self._blocks[block.id] = found
        return self._blocks[block.id]
