"""What somebody typed to search for, as SQL. Pure; every value is a parameter, never a part of the text.

The index knows words between spaces. What it cannot find is looked for in the texts themselves: words of
scripts that are written without spaces, and signs.
"""

import json
import re

from modelrunner.recorder.conditions import condition
from modelrunner.recorder.values import Filter

_WORD = re.compile(r'"([^"]*)"|(\S+)')
_LETTERS = re.compile(r"[^\W_]")
# Thai and Lao, Burmese, Khmer, Chinese, Japanese and Korean, whose words are not what stands between spaces.
# Source: the Unicode Standard, "Blocks".
_RUNNING = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc"
    "\U00020000-\U0003ffff]"
)
# One parameter, however many there are: an expression of SQL may not have a thousand terms.
_HAS_ALL = (
    "(SELECT min(instr(text, lower(part.value)) > 0) FROM json_each(?) AS part, (SELECT lower("
    "coalesce(prompt, '') || char(10) || coalesce(answer, '') || char(10) ||"
    " coalesce(reasoning, '') || char(10) || coalesce(error, '')) AS text"
    " FROM details WHERE details.id = requests.id))"
)


def sought(wanted: Filter) -> tuple[str | None, str, list[object]]:
    """Write a query of the index, if there is one to ask, and a condition on the rest, with its values."""
    where, values = condition(wanted)
    if wanted.words is None or not wanted.words.strip():
        return None, where, values
    words, parts = query(wanted.words)
    if parts:
        return words, f"{where} AND {_HAS_ALL}", [*values, json.dumps(parts)]
    if words is None:
        return None, "0", []
    return words, where, values


def query(typed: str) -> tuple[str | None, list[str]]:
    """Write what somebody typed as a query of the index, None when it is not for that, and parts of texts.

    Each word has to be there, `"a phrase"` as it stands, `begin*` as a beginning; everything else is text.
    """
    terms: list[str] = []
    parts: list[str] = []
    for phrase, word in _WORD.findall(typed):
        text = (phrase or word).replace("\x00", " ")
        if not text.strip():
            continue
        is_beginning = bool(word) and word.endswith("*") and _LETTERS.search(word) is not None
        text = text.rstrip("*") if is_beginning else text
        if _RUNNING.search(text) or not _LETTERS.search(text):
            parts.append(text)
        else:
            quoted = text.replace('"', '""')
            terms.append(f'"{quoted}"*' if is_beginning else f'"{quoted}"')
    return " AND ".join(terms) or None, parts
