"""Stop sequences, found in a text that comes in pieces: engines do not say which of them it was."""

from collections.abc import Sequence


class Stopping:
    """Passes a text on up to the first of some sequences; holds back what may be the beginning of one."""

    __slots__ = ("_held", "_longest", "_sequences", "found")

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = tuple(sequence for sequence in sequences if sequence)
        self._longest = max(map(len, self._sequences), default=0)
        self._held = ""
        self.found: str | None = None

    def feed(self, piece: str) -> str:
        """Take a piece; return what is certain to stand before any sequence. Nothing after one was found."""
        if not self._sequences or self.found is not None:
            return piece if self.found is None else ""
        text = self._held + piece
        places = [(place, sequence) for sequence in self._sequences if (place := text.find(sequence)) >= 0]
        if places:
            place, self.found = min(places, key=lambda entry: (entry[0], -len(entry[1])))
            self._held = ""
            return text[:place]
        sizes = range(min(self._longest - 1, len(text)), 0, -1)
        held = next((size for size in sizes if self._begins(text[-size:])), 0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def end(self) -> str:
        """Return what was held back, as no sequence came of it."""
        held, self._held = self._held, ""
        return held

    def _begins(self, text: str) -> bool:
        return any(sequence.startswith(text) for sequence in self._sequences)
