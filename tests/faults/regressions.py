"""Plans that broke a promise once, kept for good: each is played in every session.

A line names what was wrong, in the product or in the simulation that plays the plans.
"""

from __future__ import annotations

REGRESSIONS = {
    "a jump back gave keys without an end one, and live runs vanished (simulation)": "2 pods: retry; @46 jump -60",
    "two pods that cancelled through each other stood still for ever (simulation)": "2 pods: effect fan retry; p2 commit#3 unknown; "
    "@12 cancel 1; @14 cancel 2; @16 cancel 3",
    "a pod that a fault kills before it is ready was waited for (simulation)": "2 pods: fan; * fire_timers#1 crash-before; "
    "* fire_timers#2 crash-before; p1 commit#1 crash-before",
}
"""What was wrong → schedules, as tests.faults.schedules.replay reads them."""
