"""The payment of examples/payment.py is taken once, whatever happens; and a bank that takes every payment is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from examples import payment
from peerflow.testing import SweepReport, crash_sweep
from tests.support.sim_tasks import MakeCluster

DAY_MS = 86_400_000


class Bank:
    """Notes each payment and each mail. A careful one does nothing a second time for one key."""

    def __init__(self, *, careful: bool = True) -> None:
        self.careful = careful
        self.done: list[str] = []
        self.fails = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.fails:
            self.fails -= 1
            return httpx.Response(503)
        effect = f"{request.url.path} {request.headers['Idempotency-Key']}"
        if not (self.careful and effect in self.done):
            self.done.append(effect)
        return httpx.Response(200, json={"payment": "p-1"})


@pytest.fixture
def open_bank(monkeypatch: pytest.MonkeyPatch) -> Callable[[Bank], Bank]:
    def use(bank: Bank) -> Bank:
        transport = httpx.MockTransport(bank)
        monkeypatch.setattr(payment, "http_client", lambda: httpx.AsyncClient(base_url="http://bank", transport=transport))
        return bank

    return use


def test_an_order_is_paid_and_its_receipt_follows_a_day_later(peerflow_cluster: MakeCluster, open_bank: Callable[[Bank], Bank]) -> None:
    bank = open_bank(Bank())
    bank.fails = 2
    cluster = peerflow_cluster(pods=2, tasks=[payment])
    run_id = cluster.submit(payment.order("o-1", 12.5))
    run = cluster.wait(run_id)
    assert run.state == "succeeded"
    assert run.finished_at_ms is not None
    assert run.finished_at_ms - run.created_at_ms >= DAY_MS
    assert cluster.tasks(run_id)["charge"].attempts == 3
    assert [effect.split(" ")[0] for effect in bank.done] == ["/payments", "/mails"]


def sweep(url: str, bank: Bank, **options: Any) -> SweepReport:
    return crash_sweep(payment.order("o-1", 12.5), tasks=[payment], reset=bank.done.clear, effects=lambda: bank.done, url=url, **options)


def test_an_order_is_paid_once_wherever_a_pod_dies_or_freezes(valkey_url: str, open_bank: Callable[[Bank], Bank]) -> None:
    report = sweep(valkey_url, open_bank(Bank()))
    assert report.violations == []
    assert (report.points["begin_effect"], report.points["confirm_effect"]) == (2, 2)


def test_a_bank_that_takes_every_payment_is_found_out(valkey_url: str, open_bank: Callable[[Bank], Bank]) -> None:
    with pytest.raises(AssertionError, match=r"effect '/payments \w+' has happened 2 times"):
        sweep(valkey_url, open_bank(Bank(careful=False)), calls=["confirm_effect"])
