"""Run the command line as `python -m modelrunner`."""

import sys

from modelrunner.cli.main import dmr

if __name__ == "__main__":
    sys.exit(dmr())
