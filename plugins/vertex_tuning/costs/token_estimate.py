"""Estimate the tokens of a text without a request to the service. Pure.

Google's rule for Gemini: a token is about four characters (https://ai.google.dev/gemini-api/docs/tokens). This holds
for English. In other scripts a token has fewer characters: the more UTF-8 bytes a character takes, the fewer. The
estimate can be up to a quarter too high for English prose. For other languages, code and numbers it can be 30 % too
high or too low. These limits are not measured with Gemini's tokenizer. `countTokens` gives exact numbers.
"""

from __future__ import annotations

from typing import Final

CHARACTERS_PER_TOKEN: Final = 4
"""Characters per token in ASCII text, by Google's rule (see the module's docstring)."""
FURTHER_BYTE: Final = 0.6
"""Characters to add for each UTF-8 byte of a character after its first byte.

This project's own figure. It gives 2.5 characters per token for Cyrillic, Greek and Arabic. It gives 1.8 for Chinese,
Japanese and Korean, and 1.4 for emoji. Tokenizers with a vocabulary as large as Gemini's (256,000) have similar ratios.
"""
ESTIMATE_TOLERANCE: Final = 0.3
"""Largest expected error of an estimate, as a share of the true number."""
ESTIMATED: Final = f"estimated, up to {ESTIMATE_TOLERANCE:.0%} off".replace("%", " %")
FILES_AT_LEAST: Final = "files as they cost at least"
"""Said of counts that may be too low, because the tokens of files are a range."""

_SAMPLE: Final = 256


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text: 0 for an empty text, otherwise at least 1.

    The time does not depend on the length of the text: a long text is sampled.
    """
    length = len(text)
    if text.isascii():
        return (length + 3) // CHARACTERS_PER_TOKEN
    sample = text if length <= _SAMPLE else text[:: length // _SAMPLE + 1]
    further_bytes = len(sample.encode("utf-8", "replace")) / len(sample) - 1
    return int(length * (1 + FURTHER_BYTE * further_bytes) / CHARACTERS_PER_TOKEN) + 1
