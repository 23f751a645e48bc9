"""How many tokens a text will have, without asking anybody. Pure.

Google's rule for Gemini: a token is about four characters (https://ai.google.dev/gemini-api/docs/tokens). That is of
English; other scripts have fewer characters to a token, the fewer the more bytes of UTF-8 theirs take. Expect plain
English prose to have up to a quarter fewer tokens than estimated, and other languages, code and numbers to be off by
30 % either way: no tokenizer was at hand to measure it by. Where that is not enough, `countTokens` knows exactly.
"""

from __future__ import annotations

from typing import Final

CHARACTERS_PER_TOKEN: Final = 4
"""Of ASCII text, after the rule above."""
FURTHER_BYTE: Final = 0.6
"""Characters that each byte of UTF-8 after a character's first counts as. Ours: it gives 2.5 characters to a token for
Cyrillic, Greek and Arabic, 1.8 for Chinese, Japanese and Korean, 1.4 for emoji, as is commonly seen of vocabularies of
256,000 pieces such as Gemini's."""
FILE_TOKENS: Final = 258
"""Of a file part: what Gemini counts for one image tile or page (same source). Audio and video cost more by length."""

ESTIMATE_TOLERANCE: Final = 0.3
"""What an estimate may be off by, as a share of the true number; see above."""
ESTIMATED: Final = f"estimated, up to {ESTIMATE_TOLERANCE:.0%} off".replace("%", " %")

_SAMPLE: Final = 256


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has; 0 for none, else at least 1. Takes the same time however long the text is."""
    length = len(text)
    if text.isascii():
        return (length + 3) // CHARACTERS_PER_TOKEN
    sample = text if length <= _SAMPLE else text[:: length // _SAMPLE + 1]
    further = len(sample.encode("utf-8", "replace")) / len(sample) - 1
    return int(length * (1 + FURTHER_BYTE * further) / CHARACTERS_PER_TOKEN) + 1
