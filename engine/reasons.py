"""Why a task does not run: every reason has a stable code, a sentence, and words for a sum of waits."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Codes are kept in storage and given to programs: they are never renamed. A reader leaves out what it does not know."""

    PARENTS = "parents"
    """Some task that it depends on has not ended."""

    RETRY_AT = "retry_at"
    """An attempt failed; the next one is made when the backoff is over."""

    SLEEPS_UNTIL = "sleeps_until"
    """It sleeps, and holds no slot meanwhile."""

    NO_CAPABLE_POD = "no_capable_pod"
    """Ready, but no living pod registers its function and serves its queue."""

    POD_CAPACITY = "pod_capacity"
    """Ready, but the pods that can run it have no free slot."""

    STORAGE = "storage"
    """Ready, but Redis did not answer the pods."""

    REFUSED = "refused"
    """Ready, but Redis refuses claims: it is full."""

    QUEUED = "queued"
    """Ready: the next pod with room for it takes it when its turn has come."""

    RUNNING = "running"
    """It does not wait: a pod runs it."""

    ENDED = "ended"
    """It does not wait: it has ended."""

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]

    @property
    def waits(self) -> bool:
        """True where a task with this reason makes no progress."""
        return self not in {Reason.RUNNING, Reason.ENDED}

    def sum_phrase(self, function: str, queue: str) -> str:
        """What follows the length of a wait: `290 s` … `for a pod that registers X`."""
        where = "" if queue == "default" else f" and serves queue {queue}"
        return _PHRASES[self].format(capable=f"{function}{where}")


_SENTENCES = {
    Reason.PARENTS: "Some task that it depends on has not ended.",
    Reason.RETRY_AT: "An attempt failed; the next one is made when the backoff is over.",
    Reason.SLEEPS_UNTIL: "It sleeps, and holds no slot meanwhile.",
    Reason.NO_CAPABLE_POD: "Ready, but no living pod registers its function and serves its queue.",
    Reason.POD_CAPACITY: "Ready, but the pods that can run it have no free slot.",
    Reason.STORAGE: "Ready, but Redis did not answer the pods.",
    Reason.REFUSED: "Ready, but Redis refuses claims: it is full.",
    Reason.QUEUED: "Ready: the next pod with room for it takes it when its turn has come.",
    Reason.RUNNING: "It does not wait: a pod runs it.",
    Reason.ENDED: "It does not wait: it has ended.",
}
_PHRASES = {
    Reason.PARENTS: "for parents",
    Reason.RETRY_AT: "for the next attempt",
    Reason.SLEEPS_UNTIL: "asleep",
    Reason.NO_CAPABLE_POD: "for a pod that registers {capable}",
    Reason.POD_CAPACITY: "for a free slot",
    Reason.STORAGE: "for Redis to answer",
    Reason.REFUSED: "for room in Redis",
    Reason.QUEUED: "in the ready queue",
    Reason.RUNNING: "running",
    Reason.ENDED: "ended",
}
