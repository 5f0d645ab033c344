"""heads: a run and the first lines of task records, without results and errors, as they are at one moment."""

from __future__ import annotations

from storage.reading import FIELDS
from tests.support.lab import Lab, dag, fan

NOWHERE = "01890000-0000-7000-8000-000000000001"


async def test_heads_say_where_tasks_stand_without_what_they_brought(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a="", b={"retry": {"max_attempts": 2}}, c="a b"))
    claims = {claim.index: claim for claim in await pod.claim(2)}
    await pod.commit(
        pod.end(claims[0], payload='"a long result"'),
        pod.end(claims[1], "retry", '{"type":"E"}', line="E: no", delay_ms=60_000),
    )
    with lab.unchanged(), lab.moment():
        word, now_ms, events, run, rows = lab.call("heads", run_id, " ".join(FIELDS), 10, 0, 1, 2)
    assert word == b"OK"
    assert abs(int(now_ms) - lab.now_ms()) < 60_000
    assert events == lab.client.llen(lab.keys.events(run_id))
    assert dict(zip(FIELDS, run, strict=True))["state"] == b"running"
    assert dict(zip(FIELDS, run, strict=True))["reason"] == b""
    first, second, third = rows
    record = (lab.record(run_id, 0) or "").partition("\n")
    assert first == [record[0].encode(), b""]
    assert second[0].startswith(b"waiting 1 0 ")
    assert len(second) == 3
    assert second[2].startswith(b"1 failed ")
    assert b"type" not in second[2]
    assert third == [b"", b"1"]


async def test_heads_of_what_is_not_there_are_empty(lab: Lab) -> None:
    with lab.unchanged():
        word, _, events, run, rows = lab.call("heads", NOWHERE, "state total", 10, 0, 5)
        assert (word, events, run, rows) == (b"OK", 0, [b"", b""], [[b"", b""], [b"", b""]])
        assert lab.call("heads", NOWHERE, "state", 10)[3:] == [[b""], []]


async def test_failed_parents_are_counted_as_ended_once(lab: Lab) -> None:
    """The counter of an open task holds its failures in its upper bits."""
    pod = lab.pod("p1")
    run_id = await lab.create(fan(3))
    await pod.succeed(*await pod.claim())
    await pod.succeed(await pod.claim_one())
    lab.client.hincrby(lab.key(f"run:{run_id}:edges"), "4", 131_072)
    assert lab.call("heads", run_id, "state", 0, 4)[4] == [[b"", b"1"]]


async def test_of_many_attempts_the_last_ones_are_told(lab: Lab) -> None:
    pod = lab.pod("p1")
    run_id = await lab.create(dag(a={"retry": {"max_attempts": 9}}))
    for _ in range(5):
        await pod.commit(pod.end(await pod.claim_one(), "retry", '{"type":"E"}', delay_ms=0))
        lab.bring_forward("retry")
        await pod.fire()
    [[_, _, *log]] = lab.call("heads", run_id, "state", 3, 0)[4]
    assert [entry.split()[:2] for entry in log] == [[b"3", b"failed"], [b"4", b"failed"], [b"5", b"failed"]]
    assert lab.call("heads", run_id, "state", 0, 0)[4] == [[(lab.record(run_id, 0) or "").split("\n")[0].encode(), b""]]
