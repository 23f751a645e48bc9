"""Computed metrics: exact match, ROUGE by `rouge-score`, BLEU by `sacrebleu`, each from 0 to 1.

The two libraries are imported by the first request that needs them: `rouge-score` brings NLTK and with it scikit-learn,
5 s of processor time and 190 MB.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from ..errors import InvalidArgument
from ..state import Resource

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_ROUGE_TYPES: Final = re.compile("rouge([1-9]|L|Lsum)")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")


def exact_match(_spec: Resource, prediction: str, reference: str) -> float:
    """1 if the prediction is the reference."""
    return float(prediction == reference)


def bleu(spec: Resource, prediction: str, reference: str) -> float:
    """BLEU of one sentence."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(effective_order=spec.get("useEffectiveOrder", False))
    # Not `sentence_score`, which logs an advice for every sentence.
    return float(metric.corpus_score([prediction], [[reference]]).score) / 100


def rouge(spec: Resource, prediction: str, reference: str) -> float:
    """ROUGE's F1.

    :raises InvalidArgument: the type of ROUGE does not exist
    """
    kind = spec.get("rougeType") or "rougeLsum"
    if not _ROUGE_TYPES.fullmatch(kind):
        raise InvalidArgument(f"Invalid rouge_type: {kind}. Supported: rouge1 to rouge9, rougeL, rougeLsum.")
    if spec.get("splitSummaries"):
        prediction, reference = (_SENTENCE_END.sub("\n", text) for text in (prediction, reference))
    return float(_scorer(kind, spec.get("useStemmer", False)).score(reference, prediction)[kind].fmeasure)


@cache
def _scorer(kind: str, use_stemmer: bool) -> RougeScorer:
    """Made once: it logs a line each time."""
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=use_stemmer)
