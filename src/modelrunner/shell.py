"""Words for a shell, as text that a terminal shows as it is, and that means the same when it is pasted."""

import shlex


def quoted(word: str) -> str:
    r"""Quote a word; one with control characters as `$'…'`, in which they are written as `\x1b`.

    Source: POSIX.1-2024, "Shell Command Language", 2.2.4. A NUL, which no word can have, is left out.
    """
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word.replace(chr(0), '')))}'"


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    # Closed and opened again: a digit that follows would be taken for a third one by some shells.
    return "".join(f"\\x{byte:02x}" for byte in letter.encode(errors="replace")) + "'$'"
