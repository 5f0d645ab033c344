"""Random faults on a correct engine: whatever happens in whatever order, the checker has nothing to say."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.states import RunState, TaskState
from peerflow.testing.checker import check
from tests.support.fake_run import FakeRun, FakeTask
from tests.support.lab import dag

RETRIED = {"retry": {"max_attempts": 3, "wait": {"initial": 60, "multiplier": 1, "jitter": 0}}}
KINDS = {"claim", "fire", "succeed", "fail", "retry", "sleep", "lose", "give_back", "zombie", "cancel"}


class Chaos:
    """A correct engine that does what `data` says, and always comes to an end."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        size = data.draw(st.integers(1, 6))
        self.run = FakeRun(dag(on_failure=data.draw(st.sampled_from(["continue", "stop"])), **{f"t{n}": self.task(n) for n in range(size)}))
        self.held: dict[str, FakeTask] = {}
        self.zombies: list[tuple[str, FakeTask]] = []
        self.met: Counter[str] = Counter()

    def task(self, number: int) -> dict[str, Any]:
        parents = [f"t{before}" for before in range(number) if self.data.draw(st.booleans())]
        return {"depends_on": parents, "allow_failure": self.data.draw(st.booleans()), **RETRIED}

    def step(self) -> None:
        run = self.run
        live = run.state is RunState.RUNNING
        options = [("claim", task_id) for task_id, task in run.tasks.items() if live and task.state is TaskState.READY]
        options += [("fire", task_id) for task_id, task in run.tasks.items() if live and task.state is TaskState.WAITING]
        running = [task_id for task_id, task in run.tasks.items() if task.state is TaskState.RUNNING]
        options += [
            (kind, task_id) for task_id in running for kind in ("succeed", "succeed", "fail", "retry", "sleep", "lose", "give_back")
        ]
        options += [("zombie", "")] * any(map(self.is_late, self.zombies))
        options += [("cancel", "")] * (live and self.data.draw(st.integers(0, 20)) == 0)
        kind, task_id = self.data.draw(st.sampled_from(options))
        self.do(kind, task_id)

    def do(self, kind: str, task_id: str) -> None:
        run = self.run
        self.met[kind] += 1
        match kind:
            case "claim":
                heard = self.data.draw(st.booleans())
                self.held[task_id] = run.claim(task_id, self.data.draw(st.sampled_from(["p1", "p2"])), runs=heard)
                if not heard:
                    self.zombies.append((task_id, self.held[task_id]))
            case "retry" if run.tasks[task_id].failures == 2:
                self.ends(task_id)
                run.fail(task_id)
            case "zombie":
                late = next(filter(self.is_late, self.zombies))
                self.zombies.remove(late)
                run.starts(*late)
            case "lose" | "give_back":
                getattr(run, kind)(task_id)
            case "fire":
                run.fire(task_id)
            case "cancel":
                number = run.history.invoke("cancel")
                run.cancel()
                run.history.ok(number, run_id=run.run_id, state=str(run.state))
            case _:
                self.ends(task_id)
                getattr(run, kind)(task_id)

    def is_late(self, claim: tuple[str, FakeTask]) -> bool:
        """Its lease was lost or given back before its code began; what it will commit is refused."""
        task = self.run.tasks[claim[0]]
        return task.token != claim[1].token or task.state is not TaskState.RUNNING

    def ends(self, task_id: str) -> None:
        """A pod that commits has run the code, however late it heard of the claim."""
        held = self.held[task_id]
        if (task_id, held) in self.zombies:
            self.zombies.remove((task_id, held))
            self.run.starts(task_id, held)

    @property
    def moves(self) -> bool:
        return self.run.state is RunState.RUNNING

    def found(self, *, live: bool) -> list[str]:
        return [str(violation) for violation in check(self.run.history, [self.run.record()], live=live)]


def next_step(run: FakeRun) -> tuple[str, str]:
    by_state = {TaskState.READY: "claim", TaskState.WAITING: "fire", TaskState.RUNNING: "succeed"}
    return next((by_state[task.state], task_id) for task_id, task in run.tasks.items() if task.state in by_state)


def test_random_faults_on_a_correct_engine_break_nothing() -> None:
    met: Counter[str] = Counter()

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def walk(data: st.DataObject) -> None:
        chaos = Chaos(data)
        for _ in range(data.draw(st.integers(0, 25))):
            if chaos.moves:
                chaos.step()
                assert chaos.found(live=True) == []
        while chaos.moves:
            chaos.do(*next_step(chaos.run))
        for task_id, task in chaos.run.tasks.items():
            if task.state is TaskState.RUNNING:
                chaos.do(data.draw(st.sampled_from(["succeed", "lose", "give_back"])), task_id)
        assert chaos.found(live=False) == []
        met.update(chaos.met)

    walk()
    assert met.keys() >= KINDS, "a walk that never met a fault proves nothing about it"
