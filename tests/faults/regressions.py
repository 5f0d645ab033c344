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
    "a pod that died while a call was under way that was to be paused never ended (simulation)": "2 pods: wide; p1 pass_on#1 pause-after; "
    "* commit#1 crash-after",
    "time crept by ms while a timer was due and the only pod stood still (simulation)": "2 pods: effect cancel retry retry cancel "
    "cancel sequence retry retry diamond diamond diamond fan retry diamond retry fan sequence retry fan; * claim#39 pause-before 3; "
    "p2 claim#24 crash-before",
    "the leak check read keys before a timer fired and timers after it (simulation)": "2 pods: cancel effect; p1 claim#2 error NOAUTH; "
    "* claim#2 pause-after 3; p1 create_run#2 error TRYAGAIN; * claim#4 lost",
    "an answer that another pod's reaper had emptied was taken for a wrong one (simulation)": "2 pods: diamond wide sequence; "
    "* fire_timers#3 pause-after 3; p1 commit#6 unknown; * commit#12 lost; @41 cancel 3",
}
"""What was wrong → schedules, as tests.faults.schedules.replay reads them."""
