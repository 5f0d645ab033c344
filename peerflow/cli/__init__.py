"""The command line: `peerflow …`, in front of the HTTP API; only `serve` and `doctor` work without a pod."""

from __future__ import annotations


def main() -> int:
    """Runs the command in `sys.argv`; returns the exit status."""
    from peerflow.cli.app import run  # noqa: PLC0415 - `import peerflow.cli` alone stays cheap for those who only want a submodule

    return run()
