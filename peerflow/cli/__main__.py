"""`python -m peerflow.cli`: the command line where the `peerflow` script is not on the path."""

import sys

from peerflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
