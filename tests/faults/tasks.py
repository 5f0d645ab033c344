"""Task functions of the scenarios, and the outside world that they act upon."""

from __future__ import annotations

import asyncio

from peerflow import TaskContext

LATE = 0.004
"""Seconds: an attempt that is not over at once can be met by what happens elsewhere."""


class Bank:
    """Takes a payment once for each key, as banks do."""

    def __init__(self) -> None:
        self.payments: list[str] = []

    def clear(self) -> None:
        self.payments.clear()

    async def pay(self, key: str) -> str:
        await asyncio.sleep(0)
        if key not in self.payments:
            self.payments.append(key)
        return "paid"


BANK = Bank()


async def step(n: int = 0) -> int:
    """Ends at once, with its argument."""
    return n


async def linger(n: int = 0) -> int:
    """Ends a little later."""
    await asyncio.sleep(LATE)
    return n


def blocking(n: int = 0) -> int:
    """Runs in a thread."""
    return n


async def boom() -> None:
    """Fails, always."""
    raise ValueError("boom")


async def third_time(ctx: TaskContext) -> str:
    """Fails twice; attempts that were lost with their pods count among them."""
    if ctx.attempt < 3:
        raise ConnectionError(f"attempt {ctx.attempt}")
    return "at last"


async def charge(ctx: TaskContext) -> str:
    """Pays once, however often it is tried."""
    async with ctx.once("charge") as effect:
        if not effect.confirmed:
            effect.result = await BANK.pay(effect.key)
    return str(effect.result)


TASKS = (step, linger, blocking, boom, third_time, charge)
