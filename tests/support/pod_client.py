"""What a user does with a pod over HTTP, and what its log says; wherever the pod runs."""

from __future__ import annotations

import json
from typing import Any, cast

import httpx

from tests.support.waiting import wait_until

TERMINAL = {"succeeded", "failed", "cancelled"}


class PodClient:
    """One pod's API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=30)

    def get(self, path: str, /, **params: str) -> Any:
        answer = self.http.get(path, params=params)
        answer.raise_for_status()
        return answer.json()

    def post(self, definition: object, **headers: str) -> str:
        answer = self.http.post("/workflow", json=definition, headers=headers)
        assert answer.status_code == 202, answer.text
        return cast("str", answer.json()["run_id"])

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_finished(self, run_id: str, within_seconds: float = 60) -> dict[str, Any]:
        """The run's whole status, once it has ended."""
        wait_until(lambda: self.get(f"/runs/{run_id}")["status"] in TERMINAL, f"run {run_id} has ended", within_seconds)
        return cast("dict[str, Any]", self.get(f"/workflow_status/{run_id}"))

    def events(self, run_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while True:
            page = self.get(f"/runs/{run_id}/events", after=str(len(events)), limit="1000")["events"]
            if not page:
                return events
            events += page

    @property
    def pod_id(self) -> str:
        return cast("str", self.get("/readyz")["detail"]["pod_id"])

    def log_text(self) -> str:
        """All that the pod has written."""
        raise NotImplementedError

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The pod's log lines of that kind, so far."""
        lines = [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line.get("event") == event]
