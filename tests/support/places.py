"""What a dump of a partition says of runs and claims, compared with the model of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import cast

from tests.support.key_dump import Raw
from tests.support.run_model import RunModel
from tests.support.store_model import StoreModel

COUNTED = ("ready", "running", "waiting", "succeeded", "failed", "skipped")
FOLD = {
    "ready": "ready", "started": "running", "succeeded": "succeeded", "failed": "failed", "skipped": "skipped", "retry": "waiting",
    "sleep": "waiting", "cancelled": "cancelled", "released": "cancelled", "unheard": "cancelled", "lost": "cancelled",
}  # fmt: skip
"""Event → the task's state after it; what is given back is `cancelled` unless `ready` follows."""


class Places:
    """Where the dump says that tasks are."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        lanes = [member for key in raw if key.startswith("lane:") for member in self._members(key)]
        assert len(lanes) == len(set(lanes))
        self.lanes = {tuple(member.split()[:2]) for member in lanes}
        self.timers, self.audits = self._members("timers"), self._members("audits")
        self.listed = {
            (pod.removeprefix("claims:"), ref.split()[1], int(ref.split()[2]), ref.split()[0])
            for pod in raw
            if pod.startswith("claims:")
            for ref in self._members(pod)
        }
        self.owners = {claim: pod for pod, _, _, claim in self.listed}

    def compare(self, model: StoreModel) -> None:
        """Every part of the store is what the model says, and agrees with every other."""
        for run_id, run in model.runs.items():
            self._compare_run(run_id, run)
        assert self.listed == {(pod, *ref) for pod, refs in model.lists.items() for ref in refs}
        assert {key.removeprefix("lease:") for key in self.raw if key.startswith("lease:")} == model.leases
        assert model.leases <= {task.claim for run in model.runs.values() for task in run.tasks}
        assert set(self._members("pods")) == model.pods.keys()

    def _compare_run(self, run_id: str, run: RunModel) -> None:
        row, records = self._hash(f"run:{run_id}"), self._hash(f"run:{run_id}:tasks")
        assert row["state"] == run.state
        assert (run_id in self.audits) == (run.state == "running")
        states: list[str] = []
        for index, task in enumerate(run.tasks):
            words = records.get(str(index), "pending 0 0 0 - - - - -").split("\n")[0].split(" ")
            assert (words[0], int(words[1]), int(words[2])) == (task.state, task.attempt, task.lost), f"task {index}"
            states.append(words[0])
            if task.claim:
                assert (words[7], words[8]) == (self.owners[task.claim], task.claim)
            if run.state == "running":
                assert sum(text.startswith((f"retry {run_id} {index} ", f"sleep {run_id} {index} ")) for text in self.timers) == (
                    index in run.timers
                )
        queued = {int(index) for run_of, index in self.lanes if run_of == run_id}
        assert queued == run.queue if run.state == "running" else queued <= run.queue
        counted = Counter(states)
        assert {state: int(row[state]) for state in COUNTED} == {state: counted[state] for state in COUNTED}
        slices = {(int(text.split()[2]), int(text.split()[3])) for text in self.timers if text.startswith(f"edges {run_id} ")}
        assert slices == run.slices
        assert self._folded(run_id, len(states)) == states
        for suffix in ("", ":tasks", ":events", ":graph", ":edges", ":attempts", ":effects"):
            if f"run:{run_id}{suffix}" in self.raw:
                assert (self.raw[f"run:{run_id}{suffix}"][1] > 0) == (run.state != "running")

    def _folded(self, run_id: str, size: int) -> list[str]:
        states = ["pending"] * size
        for line in cast("list[bytes]", self.raw[f"run:{run_id}:events"][0]):
            _, kind, *rest = line.decode().split(" ")
            if not kind.startswith("run_") and kind != "repaired":
                states[int(rest[0])] = FOLD[kind]
        return states

    def _members(self, key: str) -> list[str]:
        return [member.decode() for member, _ in cast("list[tuple[bytes, float]]", self.raw[key][0])] if key in self.raw else []

    def _hash(self, key: str) -> Mapping[str, str]:
        value = cast("dict[bytes, bytes]", self.raw[key][0]) if key in self.raw else {}
        return {field.decode(): text.decode() for field, text in value.items()}
