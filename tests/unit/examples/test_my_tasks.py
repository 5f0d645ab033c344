"""How a user tests task functions: they stay ordinary functions, and what they call over HTTP is replaced by httpx's own mock."""

from __future__ import annotations

import httpx
import pytest

from examples import my_tasks
from examples.my_tasks import charge, count_primes, sum_orders, wait_for_stock
from examples.wfformat_tasks import simulate
from peerflow import EffectMemory, TaskContext


def test_sync_function_is_called_as_it_is() -> None:
    assert sum_orders([1.5, 2.0]) == {"orders": 2, "amount": 3.5}


async def test_async_function_is_awaited_as_it_is() -> None:
    assert await wait_for_stock("tea", seconds=0) == "tea is in stock"


@pytest.mark.parametrize(("below", "primes"), [(0, 0), (2, 0), (3, 1), (100, 25), (7920, 1000)])
def test_process_function_counts_primes(below: int, primes: int) -> None:
    assert count_primes(below) == primes


async def test_external_http_call_is_made_once_with_the_key_of_its_effect_and_its_answer_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []

    def payment_service(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"charged": 12.5})

    monkeypatch.setattr(my_tasks, "http_client", lambda: httpx.AsyncClient(transport=httpx.MockTransport(payment_service)))
    memory = EffectMemory()
    for attempt in (1, 2):
        ctx = TaskContext(run_id="run", task_id="bill", attempt=attempt, effects=memory)
        assert await charge("http://payments.example/charges", 12.5, ctx) == {"charged": 12.5}
    assert len(seen) == 1, "the second attempt finds that it has happened"
    assert seen[0].headers["Idempotency-Key"] == ctx.once("charge").key
    assert seen[0].read() == b'{"amount":12.5}'


async def test_external_http_failure_raises_so_that_the_task_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    unavailable = httpx.MockTransport(lambda _: httpx.Response(503))
    monkeypatch.setattr(my_tasks, "http_client", lambda: httpx.AsyncClient(transport=unavailable))
    with pytest.raises(httpx.HTTPStatusError):
        await charge("http://payments.example/charges", 12.5, TaskContext(run_id="run", task_id="bill"))


async def test_simulated_program_says_what_it_stood_for() -> None:
    assert await simulate(0.0, "bwa") == {"program": "bwa", "seconds": 0.0}
