"""Finds keys that a test left without an end: each key has a TTL, or a reason to stay that is written down here."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from fnmatch import fnmatchcase

from tests.support.servers import connect, scan

# Pattern below the namespace -> why such a key may stay for ever.
ALLOWED: dict[str, str] = {
    "}:layout": "one for each namespace: the version of the keys, and the number of partitions",
    ":*}:runs": "one for each partition; an entry goes with its run, by the timer `forget`",
    ":*}:runs:*": "one for each tenant and partition; an entry goes with its run, by the timer `unlist`",
    ":*}:access": "one for each partition, of bounded length: who did what",
    ":*}:audits": "one for each partition; an entry goes with the end of its run, or when a look finds no such run",
    ":*}:counters": "one for each partition: how often the audit found something to repair",
    ":*}:timers": "one for each partition; an entry goes when it fires",
    ":*}:waiting": "one for each partition; at most one entry for each set of capabilities, gone when its last pod is woken",
}


class KeyLeaks:
    """Collects what a test used; `check` runs after all other fixtures have ended, when pods and stores are closed."""

    def __init__(self) -> None:
        self._watched: set[tuple[str, str]] = set()
        self._allowed = dict(ALLOWED)

    def watch(self, url: str, namespace: str) -> None:
        self._watched.add((url, namespace))

    def allow(self, pattern: str, reason: str) -> None:
        """For a test that leaves keys on purpose, such as a run that is still going on: `allow("*:run:*", "the run is not finished")`."""
        self._allowed[pattern] = reason

    def check(self) -> None:
        """Fails with the keys that have neither a TTL nor an allowed pattern, and removes all keys of the test."""
        leaks: list[str] = []
        for url, namespace in sorted(self._watched):
            with connect(url) as client:
                # Every key starts with "{namespace" and the hash tag's rest.
                keys = scan(client, f"{{{namespace}[:}}]*")
                leaks += [key for key in keys if client.pttl(key) == -1 and not self._is_allowed(key.removeprefix("{" + namespace))]
                for start in range(0, len(keys), 1000):
                    client.delete(*keys[start : start + 1000])
                client.acl_deluser(namespace)
        assert not leaks, "keys without a TTL, and on no allow-list: " + ", ".join(sorted(leaks))

    def _is_allowed(self, key: str) -> bool:
        return any(fnmatchcase(key, pattern) for pattern in self._allowed)
