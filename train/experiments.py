"""The old name of `python -m experiments.search`."""

import sys

from experiments.search import main

if __name__ == "__main__":
    sys.exit(main())
