"""Write small, right headers of both formats into a folder, for a fuzzer to begin with."""

import json
import sys
from pathlib import Path

from modelrunner.testing.gguf import tiny_gguf

_SIZE = bytes(7)  # which the harness takes from the end of its input, for the size of the file


def main(folder: Path) -> None:
    tiny = folder / "tiny.gguf"
    tiny_gguf(tiny)
    tiny.write_bytes(tiny.read_bytes() + _SIZE)
    header = json.dumps(
        {"__metadata__": {"a": "b"}, "w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}
    )
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(4)
    (folder / "tiny.safetensors").write_bytes(content + _SIZE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
