"""Explicit-state search: every world that the small model of the protocol can be in, breadth first."""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from tests.support import protocol_invariants
from tests.support.protocol import World


@dataclass
class Found:
    """What a search has seen."""

    steps: int = 0
    worlds: int = 0
    met: Counter[str] = field(default_factory=Counter[str])
    """Kinds of steps → how often they were taken."""
    violation: str = ""
    """What was violated, and the shortest way there, a line for each step; empty if nothing was."""


class Search:
    """One search. Worlds have numbers, in the order in which they are found, so the shortest way to each is known."""

    def __init__(self, start: World, bound: int) -> None:
        self._start, self._bound = start, bound
        self._found = Found()
        self._numbers: dict[Hashable, int] = {}
        self._came_by: list[tuple[int, str]] = []
        """World → the world before it, and the step."""
        self._leads_into: list[list[int]] = []
        """World → worlds from which a step that is no fault leads there."""
        self._ended: list[int] = []
        self._waiting: deque[tuple[int, World]] = deque()

    def run(self) -> Found:
        """Stops at the first violation. Fails where there are more worlds than the bound."""
        self._enter(self._start.key(), -1, "", self._start)
        # Nothing here is garbage before the end, and looking for it takes a third of the time.
        gc.disable()
        try:
            while self._waiting and not self._found.violation:
                self._leave(*self._waiting.popleft())
        finally:
            gc.enable()
        self._found.worlds = len(self._numbers)
        if not self._found.violation:
            self._check_that_all_ends()
        return self._found

    def _leave(self, number: int, world: World) -> None:
        for step in world.actions():
            self._found.steps += 1
            self._found.met[step.kind] += 1
            key = step.world.key()
            known = self._numbers.get(key)
            wrong = step.wrong or protocol_invariants.of_step(world, step.world)
            if known is None:
                wrong = wrong or protocol_invariants.of_world(step.world)
                known = self._enter(key, number, step.label, step.world)
            if wrong:
                self._found.violation = self._told(wrong, [*self._way_to(number), step.label])
                return
            if not step.fault:
                self._leads_into[known].append(number)

    def _enter(self, key: Hashable, origin: int, label: str, world: World) -> int:
        number = self._numbers[key] = len(self._numbers)
        assert number < self._bound, f"more than {self._bound} worlds"
        self._came_by.append((origin, label))
        self._leads_into.append([])
        self._waiting.append((number, world))
        if world.run.state != "running":
            self._ended.append(number)
        return number

    def _check_that_all_ends(self) -> None:
        """L1: whatever has happened, the run can end without anything else going wrong."""
        reached, waiting = set(self._ended), deque(self._ended)
        while waiting:
            for number in self._leads_into[waiting.popleft()]:
                if number not in reached:
                    reached.add(number)
                    waiting.append(number)
        stuck = next((number for number in range(len(self._numbers)) if number not in reached), None)
        if stuck is not None:
            self._found.violation = self._told("L1: the run cannot end any more", self._way_to(stuck))

    def _way_to(self, number: int) -> list[str]:
        labels: list[str] = []
        while number > 0:
            number, label = self._came_by[number]
            labels.append(label)
        return labels[::-1]

    def _told(self, wrong: str, labels: list[str]) -> str:
        world = self._start
        lines = [wrong, f"   {world.describe()}"]
        for place, label in enumerate(labels, 1):
            world = next(step.world for step in world.actions() if step.label == label)
            lines += [f"{place}. {label}", f"   {world.describe()}"]
        return "\n".join(lines)
