"""What the words of an image server that failed mean; its own, and those of what it is built on."""

import re

_PATTERNS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^DIFFUSERS_ERROR: *(\S.*)$",
        r"^(?:RuntimeError|ValueError|TypeError|OSError|ImportError|ModuleNotFoundError): *(\S.*)$",
        r"((?:No GPU found|CUDA|GPU|out of memory|OOM)[^.\n]*\.?)",
        r"^(?:[\w.]+\.)?\w+Error: *(\S.*)$",
    )
)


def diagnose(words: str) -> str | None:
    """Name the cause in the last output; the first pattern that fits wins, None when none does.

    Source: Docker Model Runner, in this order.
    """
    found = (pattern.search(words) for pattern in _PATTERNS)
    return next((match[1].strip() for match in found if match), None)
