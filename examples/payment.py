"""An order that is paid once, whichever pods die on the way. Its test is shown in docs/testing.md.

peerflow serve --tasks examples.payment
python -c "import json; from examples.payment import order; print(json.dumps(order('o-1', 12.5)))" | peerflow submit - --watch
"""

from __future__ import annotations

import os
from typing import Any

import httpx
from pydantic import JsonValue

from peerflow import TaskContext, task

BANK = os.environ.get("BANK_URL", "http://127.0.0.1:9000")


def order(order_id: str, amount: float) -> dict[str, Any]:
    """The workflow of one order: stock is reserved, the money is taken, a day later the receipt goes out."""
    tried_again = {"max_attempts": 5, "wait": {"initial": 2}}
    return {
        "name": "order",
        "tasks": {
            "reserve": {"task": "reserve", "args": {"order": order_id}},
            "charge": {"task": "pay", "args": {"order": order_id, "amount": amount}, "depends_on": ["reserve"], "retry": tried_again},
            "day": {"task": "sleep", "args": {"seconds": 86_400}, "depends_on": ["charge"]},
            "receipt": {"task": "send_receipt", "args": {"order": order_id}, "depends_on": ["day"]},
        },
    }


def http_client() -> httpx.AsyncClient:
    """Makes the client of the tasks; a test replaces this function."""
    return httpx.AsyncClient(base_url=BANK, timeout=10)


@task
async def reserve(order: str) -> str:
    """Has no effect that a second call could double: the same order reserves the same goods."""
    return f"goods of {order}"


@task
async def pay(order: str, amount: float, ctx: TaskContext) -> JsonValue:
    """Takes the money. What the bank has answered once is the result of every later attempt; what it may have done is asked with the same
    key, by which it knows a repeated payment."""
    async with ctx.once("payment") as effect:
        if not effect.confirmed:
            async with http_client() as client:
                response = await client.post("/payments", json={"order": order, "amount": amount}, headers={"Idempotency-Key": effect.key})
            response.raise_for_status()
            effect.result = response.json()["payment"]
    return effect.result


@task
async def send_receipt(order: str, ctx: TaskContext) -> bool:
    """Sends it once as far as the mail server goes: it, too, gets the key."""
    async with ctx.once("mail") as effect:
        if not effect.confirmed:
            async with http_client() as client:
                response = await client.post("/mails", json={"order": order}, headers={"Idempotency-Key": effect.key})
            response.raise_for_status()
    return True
