"""S10, S11 and L1 as clients see them: one key, one run; a refused post leaves no run; an accepted run is there, and ends.

A post notes `idempotency_key`, `caller` where there are several, `body` (the body or a digest of it) and `name` (the run's name),
each where it has one; its answer `run_id`, and `existing` where it is known. A history must not be longer than the runs are kept: with its
run a key is forgotten. That parts of a definition go away after a minute: tests/integration/storage/test_stage_run.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from peerflow.testing.history import Operation
from peerflow.testing.records import RunRecord
from peerflow.testing.violation import Violation


def in_history(operations: list[Operation], runs: Sequence[RunRecord], *, rollback: bool, live: bool) -> Iterator[Violation]:
    """What is wrong between the posts and the runs, each of them once. `live`: runs may be still under way."""
    posts = [operation for operation in operations if operation.kind == "post"]
    if not rollback:
        yield from _keys(posts)
        yield from _kept(posts, runs)
    yield from _made(posts, runs)
    if not live:
        for record in runs:
            if not record.run.state.terminal:
                yield Violation("L1", record.run.run_id, None, f"the run has not ended: it is {record.run.state}")


def _keys(posts: list[Operation]) -> Iterator[Violation]:
    groups: dict[str, list[Operation]] = defaultdict(list)
    for post in posts:
        if post.outcome == "ok" and _key(post):
            groups[_key(post)].append(post)
    for group in groups.values():
        key, ids = group[0].text("idempotency_key"), sorted({str(post.run_id) for post in group})
        bodies = {post.text("body") for post in group if post.text("body") is not None}
        if len(ids) > 1:
            yield Violation("S10", ids[0], None, f"the idempotency key {key!r} has {len(ids)} runs: {', '.join(ids)}")
        elif sum(post.answered.get("existing") is False for post in group) > 1:
            yield Violation("S10", ids[0], None, f"two posts with the idempotency key {key!r} were told that they made the run")
        elif len(bodies) > 1:
            yield Violation("S10", ids[0], None, f"the idempotency key {key!r} was accepted with {len(bodies)} different bodies")


def _kept(posts: list[Operation], runs: Sequence[RunRecord]) -> Iterator[Violation]:
    known = {record.run.run_id for record in runs}
    lost = {post.run_id: None for post in posts if post.outcome == "ok" and post.run_id not in known}
    for run_id in lost:
        yield Violation("L1", run_id, None, "the run was accepted, and is not among the runs")


def _made(posts: list[Operation], runs: Sequence[RunRecord]) -> Iterator[Violation]:
    """No more runs of a name than posts could make."""
    possible: dict[str, set[str]] = {}
    for post in posts:
        name = post.text("name")
        if name is not None:
            made = possible.setdefault(name, set())
            if post.outcome != "fail":
                made.add(_key(post) or str(post.number))
    for name, made in possible.items():
        found = [record.run.run_id for record in runs if record.run.name == name]
        if len(found) > len(made):
            text = f"posts of {name!r} could make {len(made)} runs, and there are {len(found)}: {', '.join(found)}"
            yield Violation("S10" if made else "S11", found[-1], None, text)


def _key(post: Operation) -> str:
    """The idempotency key with its caller's identity; empty where the post has none. Raises ValueError for one that is noted otherwise."""
    if "key" in post.asked:
        raise ValueError("a post notes its key as idempotency_key: noted as key, it would not be checked")
    key = post.text("idempotency_key")
    return "" if key is None else f"{post.text('caller')} {key}"
