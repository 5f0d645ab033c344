"""The order of a script's effects, followed along every path through its functions: checks first, then writes.

Lua does not roll back: what can fail, or decide against the call, after the first write leaves a change half made.
"""

from __future__ import annotations

from tree_sitter import Node

from tests.support.lua_source import READS, WRITES
from tests.support.lua_tree import FUNCTIONS, LOOPS, Program, arguments, command, inside, text

CAN_FAIL = frozenset({"error", "assert", "cmsgpack.unpack"})


class Order:
    """`late`: "function: COMMAND" for each read, or other thing that can fail, that may come after a write; "body: return" for each answer
    that is decided on after one."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.late: set[str] = set()
        self._known: dict[tuple[str, bool], bool] = {}
        self._exits: list[bool] = []
        self._home = "body"
        self._block(program.root, written=False)

    def _function(self, name: str, written: bool) -> bool:
        """Whether something may have been written when the function is left."""
        if (name, written) not in self._known:
            # A function that calls itself is against another rule.
            self._known[name, written] = True
            home, exits = self._home, self._exits
            self._home, self._exits = name, []
            body = self._program.functions[name].child_by_field_name("body")
            after = self._block(body, written) if body else written
            self._known[name, written] = any(self._exits) or bool(after)
            self._home, self._exits = home, exits
        return self._known[name, written]

    def _block(self, block: Node, written: bool) -> bool | None:
        """Whether something may have been written at the block's end; None where the end is never reached."""
        for statement in block.named_children:
            if statement.type == "if_statement":
                after = self._if(statement, written)
            elif statement.type in LOOPS:
                # Twice: what one round has written is there in the next.
                self._loop(statement, written)
                after = self._loop(statement, self._loop(statement, written))
            elif statement.type == "return_statement":
                self._exits.append(self._expression(statement, written))
                after = None
            elif statement.type == "do_statement":
                after = self._block(statement.named_children[0], written)
            else:
                after = self._expression(statement, written)
            if after is None:
                return None
            written = after
        return written

    def _loop(self, loop: Node, written: bool) -> bool:
        for child in loop.named_children:
            after = self._block(child, written) if child.type == "block" else self._expression(child, written)
            written = written or bool(after)
        return written

    def _if(self, statement: Node, written: bool) -> bool | None:
        """Every branch, and none where there is no `else`."""
        ends: list[bool | None] = []
        otherwise = True
        parts = list(statement.named_children)
        while parts:
            part = parts.pop(0)
            if part.type == "elseif_statement":
                parts = [*part.named_children, *parts]
            elif part.type == "else_statement":
                otherwise = False
                parts = [*part.named_children, *parts]
            elif part.type == "block":
                if written and self._home == "body" and any(node.type == "return_statement" for node in inside(part, functions=False)):
                    self.late.add("body: return")
                ends.append(self._block(part, written))
            elif part.type != "comment":
                written = self._expression(part, written)
        ends += [written] if otherwise else []
        reached = [end for end in ends if end is not None]
        return any(reached) if reached else None

    def _expression(self, node: Node, written: bool) -> bool:
        if node.type in FUNCTIONS:
            return written
        if node.type != "function_call":
            for child in node.named_children:
                written = self._expression(child, written)
            return written
        for argument in arguments(node):
            written = self._expression(argument, written)
        name_of = node.child_by_field_name("name")
        name, called = command(node), text(name_of)
        if written and (name in READS or called in CAN_FAIL):
            self.late.add(f"{self._home}: {name or called}")
        if called in self._program.functions:
            return self._function(called, written)
        if name or "." in called:
            return written or name in WRITES
        # A function from a table: any of those that are.
        tabled = (
            [function for function in self._program.functions if "." in function]
            if name_of is not None and self._program.is_local(name_of)
            else []
        )
        return any([written, *(self._function(function, written) for function in tabled)])
