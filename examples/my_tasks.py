"""Task functions of one's own, one of each kind. Start a pod that has them, then run the workflow that uses them:

    peerflow serve --tasks examples.my_tasks
    peerflow submit examples/orders.yaml --watch

What a function returns is its result (anything that JSON can say); `False` or an exception is a failure.
"""

from __future__ import annotations

import asyncio
import json
from typing import TypedDict

import httpx
from pydantic import JsonValue

from peerflow import TaskContext, task


class Totals(TypedDict):
    orders: int
    amount: float


@task
def sum_orders(orders: list[float]) -> Totals:
    """Adds up amounts. An ordinary function: it runs in a thread and may block."""
    return {"orders": len(orders), "amount": sum(orders)}


@task
async def wait_for_stock(item: str, seconds: float = 0.1, ctx: TaskContext | None = None) -> str:
    """Waits without holding a thread. An async function runs in the pod's event loop, hundreds at a time."""
    if ctx is not None:
        ctx.log.info("waiting for %s", item)
    await asyncio.sleep(seconds)
    return f"{item} is in stock"


@task(executor="process")
def count_primes(below: int, ctx: TaskContext | None = None) -> int:
    """Uses a whole CPU. A process function leaves the pod's own work alone, and is killed when it exceeds its timeout.

    It says how far it is, so that a `heartbeat_timeout` finds out when it hangs.
    """
    if below <= 2:
        return 0
    sieve = bytearray([1]) * below
    sieve[0:2] = b"\0\0"
    for number in range(2, int(below**0.5) + 1):
        if ctx is not None:
            ctx.heartbeat({"sieved": number})
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
    return sum(sieve)


def http_client() -> httpx.AsyncClient:
    """Makes the client of `charge`; a test replaces this function (see tests/unit/examples/test_my_tasks.py)."""
    return httpx.AsyncClient(timeout=10)


@task
async def charge(url: str, amount: float, ctx: TaskContext) -> JsonValue:
    """Calls another service, once: no attempt asks again after one that was answered.

    The key is the same in every attempt, so that the service can refuse to charge twice where an answer was lost. An answer of 500 or
    above, or none at all, raises and is tried again as the workflow's `retry` says.
    """
    ctx.log.info("charging %.2f, attempt %d", amount, ctx.attempt)
    async with ctx.once("charge") as effect:
        if not effect.confirmed:
            async with http_client() as client:
                response = await client.post(url, json={"amount": amount}, headers={"Idempotency-Key": effect.key})
            response.raise_for_status()
            effect.result = json.loads(response.content)
    return effect.result
