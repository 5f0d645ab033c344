"""A sweep kills and freezes a pod at every call, and says so when an outcome is not what it was undisturbed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from peerflow import TaskContext
from peerflow.testing.faults import FaultKind
from peerflow.testing.records import RunRecord
from peerflow.testing.sweep import SweepReport, crash_sweep
from tests.support.planted import replacing
from tests.support.sim_tasks import alone, chain, fan, slow, step

Sweep = Callable[..., SweepReport]


@pytest.fixture
def sweep(valkey_url: str) -> Sweep:
    def run(*args: Any, **options: Any) -> SweepReport:
        return crash_sweep(*args, url=valkey_url, **options)

    return run


def test_a_chain_ends_the_same_whatever_happens_at_any_call(sweep: Sweep) -> None:
    report = sweep(chain(3), [step], kinds=list(FaultKind))
    assert report.violations == []
    assert report.points["commit"] == 3
    assert report.points["create_run"] == 1
    assert report.faults.keys() == {kind.value for kind in FaultKind}
    for happened in ("zombie refused", "orphan taken over", "commit repeated", "post repeated"):
        assert report.seen[happened] >= 1, happened


def test_a_fan_out_and_fan_in_ends_the_same_whatever_happens_at_any_call(sweep: Sweep) -> None:
    report = sweep(fan(4), [step], pods=3)
    assert report.violations == []
    assert report.points["commit"] >= 3
    assert report.seen["orphan taken over"] >= 1


def test_sleeps_and_retries_end_the_same_whatever_happens_at_any_call(sweep: Sweep) -> None:
    tasks = {
        "nap": {"task": "sleep", "args": {"seconds": 86_400}},
        "fails": {"task": "never", "retry": {"max_attempts": 2}, "allow_failure": True},
        "last": {"task": "step", "depends_on": ["nap"]},
    }

    async def never() -> None:
        raise ValueError("never")

    report = sweep({"tasks": tasks}, [step, never])
    assert report.violations == []
    assert report.points["fire_timers"] >= 1


def test_a_wide_fan_out_whose_slices_other_pods_go_on_with(sweep: Sweep) -> None:
    report = sweep(fan(520), [step], calls=["pass_on"], concurrency=64)
    assert report.violations == []
    assert report.points["pass_on"] >= 2
    assert report.seen["slice resumed by another pod"] >= 1


class Provider:
    """The outside world: it takes every payment that it is sent, or with `refuses_repeats` one for each key."""

    def __init__(self, *, refuses_repeats: bool) -> None:
        self.refuses_repeats = refuses_repeats
        self.charges: list[str] = []

    async def charge(self, key: str) -> None:
        await asyncio.sleep(0)
        if not (self.refuses_repeats and key in self.charges):
            self.charges.append(key)


def charging(provider: Provider) -> Callable[..., Any]:
    async def charge(ctx: TaskContext) -> str:
        await provider.charge(ctx.effect_key)
        return "paid"

    return charge


def test_an_effect_that_is_repeated_is_reported_with_its_point_and_the_calls(sweep: Sweep) -> None:
    provider = Provider(refuses_repeats=False)
    with pytest.raises(AssertionError) as caught:
        sweep(alone("charge"), [charging(provider)], reset=provider.charges.clear, effects=lambda: provider.charges)
    story = str(caught.value)
    assert "* commit#1 crash-before\n  - effect '" in story
    assert "has happened 2 times" in story
    assert "task_lost" in story
    assert "<< crash-before" in story


def test_one_plan_of_a_report_is_repeated_alone(sweep: Sweep) -> None:
    provider = Provider(refuses_repeats=False)
    with pytest.raises(AssertionError, match=r"1 disturbed runs(.|\n)*commit#1 crash-before"):
        sweep(
            alone("charge"),
            [charging(provider)],
            reset=provider.charges.clear,
            effects=lambda: provider.charges,
            only="* commit#1 crash-before",
        )


def test_an_effect_that_the_other_side_refuses_to_repeat_passes(sweep: Sweep) -> None:
    provider = Provider(refuses_repeats=True)
    report = sweep(alone("charge"), [charging(provider)], reset=provider.charges.clear, effects=lambda: provider.charges)
    assert report.violations == []


def charging_once(provider: Provider) -> Callable[..., Any]:
    async def charge(ctx: TaskContext) -> str:
        async with ctx.once("charge") as effect:
            if not effect.confirmed:
                await provider.charge(effect.key)
                effect.result = "paid"
        return str(effect.result)

    return charge


def test_an_effect_announced_by_once_is_met_at_its_own_calls_and_passes(sweep: Sweep) -> None:
    provider = Provider(refuses_repeats=True)
    report = sweep(alone("charge"), [charging_once(provider)], reset=provider.charges.clear, effects=lambda: provider.charges)
    assert report.violations == []
    assert (report.points["begin_effect"], report.points["confirm_effect"]) == (1, 1)


def test_once_alone_cannot_keep_a_payment_from_a_provider_that_takes_any(sweep: Sweep) -> None:
    """A pod that froze between announcement and payment pays when it thaws: only the other side can refuse that."""
    provider = Provider(refuses_repeats=False)
    with pytest.raises(AssertionError, match=r"begin_effect#1 pause-after\n  - effect .* has happened 2 times"):
        sweep(
            alone("charge"),
            [charging_once(provider)],
            calls=["begin_effect"],
            reset=provider.charges.clear,
            effects=lambda: provider.charges,
        )


def test_an_effect_that_is_confirmed_twice_is_reported(sweep: Sweep) -> None:
    planted = replacing("begin_effect", "if effect and effect.state == 'confirmed' then return {'OK', 'confirmed', effect.result} end", "")
    also = replacing("confirm_effect", "if effect and effect.state == 'confirmed' then return {'CONFIRMED'} end", "")

    def both(name: str, text: str) -> str:
        return also(name, planted(name, text))

    provider = Provider(refuses_repeats=True)
    with pytest.raises(AssertionError, match="E1 "):
        sweep(
            alone("charge"),
            [charging_once(provider)],
            calls=["commit"],
            kinds=[FaultKind.CRASH_BEFORE],
            reset=provider.charges.clear,
            rewrite=both,
        )


def test_an_output_that_depends_on_the_attempt_is_reported(sweep: Sweep) -> None:
    async def which(ctx: TaskContext) -> int:
        return ctx.attempt

    with pytest.raises(AssertionError, match="the outputs are"):
        sweep(alone("which"), [which], calls=["commit"], kinds=[FaultKind.CRASH_BEFORE])


def test_a_check_of_the_users_own_is_asked(sweep: Sweep) -> None:
    def never_lost(record: RunRecord) -> None:
        assert all(task.lost == 0 for task in record.tasks), "an attempt was lost"

    with pytest.raises(AssertionError, match="an attempt was lost"):
        sweep(alone("step"), [step], calls=["commit"], check=never_lost)


def test_a_workflow_that_fails_by_itself_is_refused_before_the_sweep(sweep: Sweep) -> None:
    with pytest.raises(AssertionError, match="fails without any fault"):
        sweep(alone("step"), [step], effects=lambda: ["twice", "twice"])


def test_a_sweep_with_one_pod_is_refused(sweep: Sweep) -> None:
    with pytest.raises(ValueError, match="at least 2 pods"):
        sweep(alone("step"), [step], pods=1)


def test_a_limit_takes_points_by_seed(sweep: Sweep) -> None:
    report = sweep(chain(2), [step], limit=3, seed=5)
    assert report.tried == 3


def test_a_server_whose_fence_is_broken_is_found_out(sweep: Sweep) -> None:
    """A late commit that is taken for the current one ends a task twice."""
    planted = replacing("commit", "if record and record.state == 'running' and record.claim == claim then return run, record end",
                        "if record then return run, record end")  # fmt: skip
    with pytest.raises(AssertionError, match=r"S\d+"):
        sweep(chain(2), [step], calls=["commit"], kinds=[FaultKind.PAUSE_BEFORE], rewrite=planted)


def test_a_reaper_that_loses_tasks_leaves_a_run_in_limbo(sweep: Sweep) -> None:
    planted = replacing("reap", "return make_ready(run, index, flags, priority, lane, 'running', record)", "return")
    with pytest.raises(AssertionError, match=r"L1: run .* is in limbo"):
        sweep(chain(2), [step], calls=["commit"], kinds=[FaultKind.CRASH_BEFORE], limit=1, rewrite=planted)


def test_a_key_that_nothing_removes_is_found_after_the_sweep(sweep: Sweep) -> None:
    planted = replacing("commit", "':attempts', ", "")
    with pytest.raises(AssertionError, match=r"S18: .*:attempts is left"):
        sweep(alone("slow"), [slow], calls=["commit"], kinds=[FaultKind.CRASH_BEFORE], rewrite=planted)
