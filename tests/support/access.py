"""Who is who in tests: pods and stores come to a server as the ACL user that peerflow asks for, tests themselves as its default user."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.acl import password_hash, patterns, user_line

PASSWORD = "a-password-of-the-tests"  # of servers on loopback that end with the tests
CLUSTERS = "sim*"
"""The namespaces of `peerflow.testing.Cluster`."""


def admin(url: str) -> str:
    """The URL without user and password."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"


def as_user(url: str, user: str) -> str:
    return admin(url).replace("://", f"://{user}:{PASSWORD}@", 1)


def setuser(user: str, *namespaces: str) -> list[str]:
    """The words of ACL SETUSER: `user` has exactly the rights that peerflow needs, on the keys of these namespaces."""
    first, *others = namespaces
    words = user_line(first, user, password_hash(PASSWORD)).split(" ")[1:]
    return [*words, *(pattern for namespace in others for pattern in patterns(namespace))]


def admit(url: str, user: str, *namespaces: str) -> str:
    """Makes the user on the server, and answers the URL with which it comes in."""
    with redis.Redis.from_url(admin(url), socket_timeout=5, retry=Retry(NoBackoff(), 0)) as client:
        client.execute_command("ACL", "SETUSER", *setuser(user, *namespaces))
    return as_user(url, user)
