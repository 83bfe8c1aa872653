"""Run a server that is ours in a Python that is an engine's: `python -I …/standalone speech.whisper …`.

A folder that is run is the first place where modules are looked for, so what lies in this one is found, and
nothing else of this package, which that Python has not.
"""

import importlib
import sys

if __name__ == "__main__":
    importlib.import_module(sys.argv[1]).main(sys.argv[2:])
