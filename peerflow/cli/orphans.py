"""Processes that became this one's children when their parents died, as those of a container's first process do."""

from __future__ import annotations

import os


def reap_orphans(own: set[int]) -> None:
    """Asks about those that have ended, so that they do not stay as zombies. `own` are left to those who wait for them."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, os.WNOHANG)
