"""The stand-in for Google's judge model: it counts words that a response shares with the reference.

Without a reference, the words of a response that the prompt has count. Tags such as `<response>` are no words. It reads
no instructions, so no response can tell it what to decide, and it knows nothing of quality: its scores rank only what
is close to the reference.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..errors import InvalidArgument
from ..model.prompts import text_of
from ..state import Resource

Choice = Literal["BASELINE", "CANDIDATE", "TIE"]

TIE: Final = 0.05
"""Difference of two overlaps up to which the judge sees a tie."""
HIGHEST_RATING: Final = 5
"""Ratings go from 1 to 5, as in the prompt templates of Google's guide."""
RUBRICS: Final = (("SHARES_A_QUARTER", 0.25), ("SHARES_HALF", 0.5), ("SHARES_ALMOST_ALL", 0.9))
"""Rubrics of predefined metrics, and the overlap that each requires."""

_WORD: Final = re.compile(r"\w+")
_TAG: Final = re.compile(r"</?[\w-]+>")
_VARIABLE: Final = re.compile(r"\{(\w+)\}")
_NO_RESPONSES: Final = ("prompt", "reference", "context", "history")


@dataclass(frozen=True)
class Material:
    """The texts that a response is compared with.

    :param prompt: the prompt of the response; empty if it is missing
    :param reference: the right response; empty if it is missing
    """

    prompt: str
    reference: str

    def overlap(self, response: str) -> float:
        """Agreement of a response with the reference, from 0 to 1; without a reference, with the prompt."""
        ours, theirs = _words(response), _words(self.reference or self.prompt)
        common = (ours & theirs).total()
        if self.reference:
            return 2 * common / max(ours.total() + theirs.total(), 1)
        return common / max(ours.total(), 1)

    def reason(self, response: str) -> str:
        """The overlap in words."""
        return f"{self.overlap(response):.0%} word overlap with the {'reference' if self.reference else 'prompt'}"


def pointwise(spec: Resource, instance: Resource) -> Resource:
    """Rate one response, from 1 to 5.

    :param spec: a PointwiseMetricSpec
    :param instance: a PointwiseMetricInstance
    :raises InvalidArgument: the template has a variable that the instance lacks
    """
    values = _values(spec, instance)
    responses = [name for name in values if name not in _NO_RESPONSES]
    response = values.get("response", values[responses[-1]] if responses else "")
    return rate(_material(values), response)


def rate(material: Material, response: str) -> Resource:
    """A rating from 1 to 5, with its explanation."""
    score = 1 + round((HIGHEST_RATING - 1) * material.overlap(response))
    return {"score": float(score), "explanation": f"Rated {score}: {material.reason(response)}."}


def pairwise(spec: Resource, instance: Resource) -> Resource:
    """Choose between two responses.

    :param spec: a PairwiseMetricSpec
    :param instance: a PairwiseMetricInstance
    :raises InvalidArgument: the template has a variable that the instance lacks
    """
    values, chosen = _values(spec, instance), "TIE"
    baseline = values.get(spec.get("baselineResponseFieldName") or "baseline_model_response", "")
    candidate = values.get(spec.get("candidateResponseFieldName") or "response", "")
    material = _material(values)
    difference = material.overlap(candidate) - material.overlap(baseline)
    if abs(difference) > TIE:
        chosen = "CANDIDATE" if difference > 0 else "BASELINE"
    reason = f"Baseline: {material.reason(baseline)}; candidate: {material.reason(candidate)}."
    return {"pairwiseChoice": chosen, "explanation": reason}


def by_rubrics(material: Material, response: str) -> Resource:
    """The share of rubrics that a response meets, with a verdict for each."""
    verdicts = [
        {
            "evaluatedRubric": {
                "rubricId": f"rubric-{number}",
                "type": kind,
                "importance": "HIGH",
                "content": {"property": {"description": f"The response shares {least:.0%} of the words."}},
            },
            "verdict": material.overlap(response) >= least,
            "reasoning": f"Found {material.reason(response)}.",
        }
        for number, (kind, least) in enumerate(RUBRICS, 1)
    ]
    score = sum(verdict["verdict"] is True for verdict in verdicts) / len(verdicts)
    return {"score": score, "explanation": f"Found {material.reason(response)}.", "rubricVerdicts": verdicts}


def text_of_data(data: Resource | None) -> str:
    """The text of an InstanceData; empty if it is missing."""
    if not data:
        return ""
    contents = data.get("contents", {}).get("contents", [])
    return data.get("text") or "\n".join(map(text_of, contents))


def check_template(template: str, values: Mapping[str, Any]) -> None:
    """Check that a prompt template can be filled.

    :raises InvalidArgument: the template is empty, or has a variable without a value
    """
    if not template:
        raise InvalidArgument("metric_prompt_template must be set.")
    if missing := sorted(set(_VARIABLE.findall(template)) - set(values)):
        raise InvalidArgument(f"The instance has no value for the variable {missing[0]!r} of the prompt template.")


def _values(spec: Resource, instance: Resource) -> dict[str, str]:
    if "jsonInstance" in instance:
        values = _json_values(instance["jsonInstance"])
    else:
        found = instance.get("contentMapInstance", {}).get("values", {})
        values = {name: "\n".join(map(text_of, item.get("contents", []))) for name, item in found.items()}
    check_template(spec.get("metricPromptTemplate", ""), values)
    return values


def _json_values(text: str) -> dict[str, str]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise InvalidArgument("Invalid json_instance: expected a JSON object of strings.")
    return values


def _material(values: Mapping[str, str]) -> Material:
    return Material(values.get("prompt", ""), values.get("reference", ""))


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(_TAG.sub(" ", text.lower())))
