"""The proxy as a program, for a container in front of a pod: SIGUSR1 holds what comes from the server, SIGUSR2 heals.

python -m tests.support.proxy_main redis://redis:6379/0 6379
"""

from __future__ import annotations

import signal
import sys

from tests.support.proxy import Proxy

LONGEST_SECONDS = 3600
"""Without a signal for so long, the test session is gone."""


def main() -> None:
    watched = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM}
    # Before the proxy's thread exists, so that it inherits the mask and only this one takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    with Proxy(sys.argv[1], host="0.0.0.0", port=int(sys.argv[2])) as proxy:
        while (taken := signal.sigtimedwait(watched, LONGEST_SECONDS)) and taken.si_signo != signal.SIGTERM:
            if taken.si_signo == signal.SIGUSR1:
                proxy.hold("to_client")
            else:
                proxy.heal()


if __name__ == "__main__":
    main()
