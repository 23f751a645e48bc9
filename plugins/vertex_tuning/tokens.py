"""How many tokens a text will have, without asking anybody. Pure.

Google's rule for Gemini: a token is about four characters
(https://ai.google.dev/gemini-api/docs/tokens). It holds for English; other scripts have fewer characters to a token,
and how many depends on how many bytes of UTF-8 theirs take. Expect it within 15 % for a dataset of English prose, 30 %
for other languages, code, numbers and very short texts; where that is not enough, `countTokens` knows exactly.
"""

from __future__ import annotations

from typing import Final

CHARACTERS_PER_TOKEN: Final = 4
"""Of ASCII text, after the rule above."""
FILE_TOKENS: Final = 258
"""Of a file part: what Gemini counts for one image tile or page (same source). Audio and video cost more by length."""

_TOKENS_PER_CHARACTER: Final = {2: 0.32, 3: 0.6, 4: 1.0}
"""By bytes of UTF-8: Cyrillic, Greek, Arabic; Chinese, Japanese, Korean, Indic scripts and typographic signs; emoji.
Ours, from what is commonly seen with vocabularies of 256,000 pieces such as Gemini's."""
_SAMPLE: Final = 512


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has; 0 for none, else at least 1. Takes the same time however long the text is."""
    if text.isascii():
        return (len(text) + CHARACTERS_PER_TOKEN - 1) // CHARACTERS_PER_TOKEN
    sample = text if len(text) <= _SAMPLE else text[:: len(text) // _SAMPLE + 1]
    ascii_length = len(sample.encode("ascii", "ignore"))
    others = len(sample) - ascii_length
    tokens = ascii_length / CHARACTERS_PER_TOKEN
    if others:
        size = (len(sample.encode("utf-8", "replace")) - ascii_length) / others
        tokens += others * _per_character(size)
    return max(1, round(tokens * len(text) / len(sample)))


def _per_character(size: float) -> float:
    """Between the classes as between points of a line. A lone surrogate, one byte as `?`, counts as the first class."""
    low = min(max(int(size), 2), 3)
    share = min(max(size - low, 0.0), 1.0)
    return _TOKENS_PER_CHARACTER[low] * (1 - share) + _TOKENS_PER_CHARACTER[low + 1] * share
