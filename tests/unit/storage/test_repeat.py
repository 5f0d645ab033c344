"""A storage call is repeated until it is answered, or until its time is over."""

from __future__ import annotations

import pytest

from engine.errors import StorageCorrupt, StorageRefused, StorageUnavailable
from storage import repeat
from storage.repeat import until_answered

AWAY, REFUSED = StorageUnavailable("redis://h", "gone"), StorageRefused("OOM")


class Flaky:
    """Fails with each error in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeat, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(repeat, "WAIT", lambda _: 0.0)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]


async def test_an_answer_is_given_at_once() -> None:
    call = Flaky()
    assert (await until_answered(call), call.calls) == ("answer", 1)


@pytest.mark.parametrize("errors", [[AWAY], [REFUSED], [AWAY, REFUSED, AWAY] * 20])
async def test_a_call_is_repeated_until_it_is_answered_and_each_error_is_heard(errors: list[Exception]) -> None:
    call, heard = Flaky(*errors), list[Exception]()
    assert await until_answered(call, on_failure=heard.append) == "answer"
    assert (call.calls, heard) == (len(errors) + 1, errors)


async def test_nobody_need_hear_the_errors() -> None:
    assert await until_answered(Flaky(AWAY, AWAY)) == "answer"


async def test_the_last_error_is_raised_when_the_time_is_over() -> None:
    call, heard = Flaky(AWAY, *[REFUSED] * 1_000_000), list[Exception]()
    with pytest.raises(StorageRefused):
        await until_answered(call, within_seconds=0.02, on_failure=heard.append)
    assert call.calls == len(heard)


@pytest.mark.parametrize("errors", [[StorageCorrupt("x")], [AWAY, StorageCorrupt("x")], [ValueError("ours")]])
async def test_what_repeating_cannot_mend_is_raised_at_once(errors: list[Exception]) -> None:
    call, heard = Flaky(*errors), list[Exception]()
    with pytest.raises(type(errors[-1])):
        await until_answered(call, on_failure=heard.append)
    assert call.calls == len(errors)
    assert heard == errors[:-1]


def test_waits_grow_and_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    class State:
        attempt_number = 0
        seconds_since_start = 0.0

    waits: list[float] = []
    for number in range(1, 12):
        State.attempt_number = number
        waits.append(repeat.WAIT(State()))  # pyright: ignore[reportArgumentType]
    assert waits[0] < 0.2
    assert max(waits) <= repeat.LONGEST_WAIT_SECONDS + repeat.FIRST_WAIT_SECONDS
    assert waits[-1] >= repeat.LONGEST_WAIT_SECONDS
