"""Scores that need no service: exact match and token F1. Pure."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import Final

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def exact_match(answer: str, reference: str) -> float:
    """1 if the answer is the reference, else 0.

    Surrounding space does not count, as in the smoke test; case and punctuation do, because programs read labels.
    """
    return float(answer.strip() == reference.strip())


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the words that answer and reference share, from 0 to 1.

    Case, punctuation and English articles do not count, as in the evaluation of SQuAD: P. Rajpurkar et al., "SQuAD:
    100,000+ Questions for Machine Comprehension of Text" (2016), https://arxiv.org/abs/1606.05250.
    """
    ours, theirs = _words(answer), _words(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total())


def _words(text: str) -> Counter[str]:
    return Counter(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())
