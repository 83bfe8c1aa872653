"""What a chat does with a model's thoughts."""

from enum import StrEnum


class Thoughts(StrEnum):
    """They are printed, fold to one line once the answer begins, or are left out."""

    SHOW = "show"
    FOLD = "fold"
    HIDE = "hide"
