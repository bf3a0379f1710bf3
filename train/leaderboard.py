"""The old name of `python -m experiments.leaderboard`."""

import sys

from experiments.leaderboard import main

if __name__ == "__main__":
    sys.exit(main())
