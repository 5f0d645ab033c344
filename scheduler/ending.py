"""How an attempt's outcome becomes the task's next state."""

from __future__ import annotations

import random

from engine.errors import NoProgress, TaskTimedOut
from engine.graph import GraphTask
from engine.observer import End
from engine.outcome import Failed, Outcome, Sleeping, Succeeded
from scheduler.retrying import next_delay_seconds
from storage.partition import Claim, Ended

OUT_OF_TIME = {TaskTimedOut.__name__, NoProgress.__name__}
LINE_CHARS = 200
"""Of an error's text in the run's events; the whole error is in the task's record."""


def ended(claim: Claim, task: GraphTask, outcome: Outcome, source: random.Random) -> Ended:
    """The commit for an attempt: succeeded, failed for good, to be tried again, or asleep.

    Lost attempts are not charged: the user's retries count the attempts whose code failed.
    """
    match outcome:
        case Succeeded(result_json):
            return Ended(claim.ref, "succeeded", result_json)
        case Sleeping(seconds, result_json):
            return Ended(claim.ref, "sleep", result_json, delay_ms=_ms(seconds))
        case Failed(error):
            line = " ".join(f"{error.type}: {error.message}".split())[:LINE_CHARS]
            delay = next_delay_seconds(task.retry, claim.attempt - claim.lost, outcome, source=source)
            if delay is None:
                return Ended(claim.ref, "failed", error.to_json(), line)
            return Ended(claim.ref, "retry", error.to_json(), line, delay_ms=_ms(delay))


def end_of(outcome: Outcome) -> End:
    """The word by which the attempt is counted."""
    # Not `match`, as above: this is for every attempt, and only to count it.
    if isinstance(outcome, Failed):
        return End.TIMED_OUT if outcome.error.type in OUT_OF_TIME else End.FAILED
    return End.SLEEPING if isinstance(outcome, Sleeping) else End.SUCCEEDED


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
