"""S18 and S11: what is left when all should be gone.

The caller looks for keys once retention has passed, and for whatever else has no owner any more, and hands over what it found: it alone
knows which keys a server that pods use has by right. Parts of a definition of which no run was made are S11, anything else is S18.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from peerflow.testing.records import RunRecord
from peerflow.testing.violation import Violation

OF_A_RUN = re.compile(r"}:run:(?P<run>[^:]+)(?P<part>:\w+)?$")


def in_keys(keys: Sequence[str], runs: Sequence[RunRecord]) -> Iterator[Violation]:
    """One violation for each key."""
    known = {record.run.run_id for record in runs}
    found = [(key, OF_A_RUN.search(key)) for key in keys]
    made = known | {match["run"] for _, match in found if match and match["part"] != ":graph"}
    for key, match in found:
        run_id = match["run"] if match else None
        staged = run_id is not None and run_id not in made
        yield Violation("S11" if staged else "S18", run_id, None, f"{key} is left{' of a definition without a run' if staged else ''}")
