"""The HTTP API of a pod (DESIGN.md §7): `create_app` makes it from a Store, settings and what the pod says of itself.

Any pod answers every call, since all state is in Redis. Routes are in small files by what they are about; `refusals` turns every error
into a problem document, `body` counts what comes in, `task_pages` bounds what goes out.
"""

from peerflow.api.app import create_app

__all__ = ["create_app"]
