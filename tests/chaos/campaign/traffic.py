"""Clients: they post workflows of all shapes to any pod, cancel some, and note what they asked for and what they heard."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import httpx

from peerflow.testing.history import History
from tests.support.pods import TERMINAL

GIVE_UP_SECONDS = 60.0


class Scene(Protocol):
    """Where clients find pods, and note what they hear."""

    history: History

    def pod_urls(self) -> Sequence[str]: ...

    def get(self, path: str, /, **params: str) -> Any:
        """GET from a pod that answers."""
        ...


def workflow(source: random.Random) -> dict[str, Any]:
    """A definition of 1 to 40 tasks."""
    shape = source.choice(["chain", "fan", "diamonds", "flaky", "held up", "held up", "held up", "doomed", "asleep"])
    if shape == "chain":
        return {"name": shape, "steps": [{"type": "sequential", "tasks": [{"task": "light"}] * source.randint(1, 10)}]}
    if shape == "fan":
        wide = [{"task": source.choice(["light", "heavy"]), "args": {"seconds": source.choice([0, 0.02, 0.2])}}] * source.randint(2, 38)
        return {"name": shape, "steps": [{"type": "parallel", "tasks": wide}, {"type": "sequential", "tasks": ["light"]}]}
    if shape == "diamonds":
        tasks = {
            f"t{number}": {"task": "light", "depends_on": [f"t{before}" for before in range(number) if source.random() < 0.4]}
            for number in range(source.randint(3, 12))
        }
        return {"name": shape, "tasks": tasks}
    if shape == "held up":
        # Long enough that whatever happens to a pod happens to some of them.
        tasks = {
            f"slow{number}": {"task": source.choice(["light", "light", "heavy"]), "args": {"seconds": source.uniform(0.5, 5)}}
            for number in range(source.randint(2, 8))
        }
        return {"name": shape, "tasks": {**tasks, "then": {"task": "light", "depends_on": list(tasks)}}}
    if shape == "asleep":
        nap = {"task": "sleep", "args": {"seconds": source.uniform(0.2, 3)}}
        return {"name": shape, "tasks": {"nap": nap, "then": {"task": "light", "depends_on": ["nap"]}}}
    retry = {"max_attempts": 6 if shape == "flaky" else 1, "wait": {"initial": 0.1, "max": 1}}
    return {
        "name": shape,
        "on_failure": source.choice(["continue", "stop"]),
        "tasks": {
            "bad": {"task": "flaky", "args": {"failures": source.randint(1, 2)}, "retry": retry},
            "good": {"task": "light"},
            "then": {"task": "light", "depends_on": ["bad", "good"]},
        },
    }


class Client(threading.Thread):
    """Posts until it is told to stop; each post is repeated with its key until somebody has answered."""

    def __init__(self, arena: Scene, seed: int, pause_seconds: float) -> None:
        super().__init__(name=f"client-{seed}")
        self._arena, self._random, self._pause, self._seed = arena, random.Random(seed), pause_seconds, seed
        self._over = threading.Event()
        self._http = httpx.Client(timeout=10)
        self.problem: str | None = None
        self.runs: list[str] = []

    def stop(self) -> None:
        self._over.set()

    def run(self) -> None:
        number = 0
        try:
            while not self._over.wait(self._random.uniform(0.5, 1.5) * self._pause):
                number += 1
                run_id = self._post(workflow(self._random), f"client {self._seed}, run {number}")
                if run_id is not None and self._random.random() < 0.1:
                    self._cancel(run_id)
        except Exception as error:  # noqa: BLE001  # a client that died would be a round that proved nothing: the round reports it
            self.problem = repr(error)
        finally:
            self._http.close()

    def _post(self, definition: dict[str, Any], key: str) -> str | None:
        deadline, body = time.monotonic() + GIVE_UP_SECONDS, json.dumps(definition)
        again = self._random.random() < 0.1
        answered = None
        while time.monotonic() < deadline:
            operation = self._arena.history.invoke("post", idempotency_key=key, body=body, name=str(definition["name"]))
            try:
                answer = self._http.post(f"{self._url()}/workflow", json=definition, headers={"Idempotency-Key": key})
            except httpx.ConnectError:
                self._arena.history.fail(operation, error="nobody listens")
                time.sleep(0.05)
                continue
            except httpx.TransportError as error:
                self._arena.history.unknown(operation, error=repr(error))
                continue
            if answer.status_code == 202:
                answered = str(answer.json()["run_id"])
                self._arena.history.ok(operation, run_id=answered)
                self.runs.append(answered)
                if not again:
                    return answered
                again = False
            elif answer.status_code in {503, 507} and answer.headers["content-type"] == "application/problem+json":
                self._arena.history.unknown(operation, status=answer.status_code)
                time.sleep(0.2)
            else:
                raise AssertionError(f"a post was answered {answer.status_code}: {answer.text[:500]}")
        return answered

    def _cancel(self, run_id: str) -> None:
        operation = self._arena.history.invoke("cancel", run_id=run_id)
        try:
            answer = self._http.post(f"{self._url()}/runs/{run_id}/cancel")
        except httpx.TransportError as error:
            self._arena.history.unknown(operation, error=repr(error))
            return
        if answer.status_code == 202:
            self._arena.history.ok(operation, run_id=run_id, state=answer.json()["status"])
        elif answer.status_code == 409:
            self._arena.history.fail(operation, status=409)
        else:
            self._arena.history.unknown(operation, status=answer.status_code)

    def _url(self) -> str:
        return self._random.choice(self._arena.pod_urls())


def all_runs(arena: Scene) -> list[str]:
    """Every run that there is, also one whose post nobody has heard an answer to."""
    found: list[str] = []
    page = arena.get("/runs", limit="1000")
    while True:
        found += [str(run["run_id"]) for run in page["runs"]]
        if page["next_cursor"] is None:
            return found
        page = arena.get("/runs", limit="1000", cursor=str(page["next_cursor"]))


def wait_until_all_ended(arena: Scene, run_ids: list[str], within_seconds: float) -> list[str]:
    """The runs that have not ended by then."""
    deadline, left = time.monotonic() + within_seconds, list(run_ids)
    while left and time.monotonic() < deadline:
        left = [run_id for run_id in left if arena.get(f"/runs/{run_id}")["status"] not in TERMINAL]
        time.sleep(0.05 if left else 0)
    return left
