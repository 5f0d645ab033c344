"""Eight workflows which together meet every call that a pod makes. Each ends the same however its pods die."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import RunAlreadyFinished
from peerflow.testing import Cluster, RunRecord
from peerflow.testing.clients import Clients, cancel, post, post_at_once
from peerflow.testing.sweep import Outputs, outputs_of
from peerflow.testing.trace import Call

Workflow = dict[str, Any]
WIDE = 260
"""More successors than one commit decides (250)."""
LARGE_BYTES = 700_000
"""Of a definition that is sent in parts (of 512 KiB, compressed)."""
CANCELLED_AT = 2
"""The commit, counted over all pods, which a cancel outruns."""


@dataclass(frozen=True)
class Scenario:
    """A workflow, and what must be the same whatever happens."""

    name: str
    workflow: Workflow
    outputs: Outputs = outputs_of
    clients: Callable[[Workflow], Clients] | None = None
    under: Sequence[str] = ()
    """Plans under which it is swept once more."""
    effects: Callable[[RunRecord], object] | None = None
    ends_as: str = "succeeded"
    """The run's state."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])


def _after(function: str, *parents: str, **fields: Any) -> dict[str, Any]:
    return {"task": function, "depends_on": list(parents), **fields}


def _cancelling(workflow: Workflow) -> Clients:
    """Cancels each run at the moment at which the second commit of the cluster is about to be sent."""

    def play(cluster: Cluster, key: str) -> str:
        def at_the_moment(call: Call, args: Sequence[Any]) -> None:
            if call.name == "commit" and call.points[1].number == CANCELLED_AT:
                cluster.before_call = None
                try:
                    cancel(cluster, str(args[6]).split(" ")[1], not_through=call.pod)
                except RunAlreadyFinished:
                    return

        cluster.before_call = at_the_moment
        return post(cluster, workflow, key)

    return play


def _twice(workflow: Workflow) -> Clients:
    return lambda cluster, key: post_at_once(cluster, workflow, key)


def run_state(record: RunRecord) -> object:
    """What is the same where it is a matter of chance how far a run came."""
    return record.run.state


def paid_once(record: RunRecord) -> None:
    """What the tasks say, beside what the bank says."""
    charges = [task for task in record.tasks if task.function == "charge"]
    assert [task.result for task in charges] == ["paid"] * len(charges), "a payment was not made, or its task does not know"


CRASHED, FROZEN = "* commit#1 crash-before", "* commit#1 pause-before"

SEQUENCE = Scenario(
    "sequence",
    {"steps": [{"type": "sequential", "tasks": [{"task": "step", "args": {"n": n}} for n in range(3)] + [{"task": "blocking"}]}]},
    under=[CRASHED, FROZEN],
)
FAN = Scenario(
    "fan",
    {
        "tasks": {
            "first": {"task": "step"},
            **{f"m{n}": _after("linger", "first", args={"n": n}) for n in range(4)},
            "last": _after("step", *(f"m{n}" for n in range(4)), args={"n": 9}),
        }
    },
    under=[CRASHED],
)
DIAMOND = Scenario(
    "diamond",
    {
        "tasks": {
            "first": {"task": "step"},
            "good": _after("linger", "first"),
            "bad": _after("boom", "first", allow_failure=True),
            "join": _after("step", "good", "bad"),
            "after": _after("step", "join"),
            "end": _after("step", "after", "good"),
            "beside": _after("step", "good", args={"n": 5}),
        }
    },
    under=[CRASHED],
)
RETRY = Scenario(
    "retry",
    {
        "tasks": {
            "nap": {"task": "sleep", "args": {"seconds": 3600}},
            "flaky": {"task": "third_time", "retry": {"max_attempts": 3, "wait": {"initial": 60, "max": 600}}},
            "last": _after("step", "nap", "flaky"),
        }
    },
    under=[CRASHED],
)
CANCEL = Scenario(
    "cancel",
    {"tasks": {"a": {"task": "step"}, "b": _after("linger", "a"), "c": _after("linger", "a"), "d": _after("step", "b", "c")}},
    outputs=run_state,
    clients=_cancelling,
    under=[CRASHED],
)
EFFECT = Scenario(
    "effect",
    {
        "on_failure": "stop",
        "tasks": {
            "charge": {"task": "charge"},
            "asleep": {"task": "sleep", "args": {"seconds": 86_400}},
            "bad": _after("boom", "charge"),
            "never": _after("step", "bad"),
        },
    },
    effects=paid_once,
    ends_as="failed",
    under=[CRASHED],
)
SUBMIT = Scenario(
    "submit",
    {
        "input": {"text": random.Random(1).randbytes(LARGE_BYTES).hex()},
        "tasks": {"a": {"task": "step"}, "b": _after("step", "a", args={"n": 1})},
    },
    clients=_twice,
)
WIDE_FAN = Scenario(
    "wide",
    {
        "tasks": {
            "first": {"task": "step"},
            **{f"m{n}": _after("step", "first", args={"n": n}) for n in range(WIDE)},
            "last": _after("step", *(f"m{n}" for n in range(WIDE))),
        }
    },
    options={"concurrency": 64},
)
SCENARIOS = {scenario.name: scenario for scenario in (SEQUENCE, FAN, DIAMOND, RETRY, CANCEL, EFFECT, SUBMIT, WIDE_FAN)}
