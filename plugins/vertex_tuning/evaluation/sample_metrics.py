"""The metrics of a sample, as people list them: `evaluation.metrics`. Pure.

metrics: [exact_match, rouge_l_sum, {pairwise: summarization_quality}, {rubric: "Mentions every date."}]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.scores import WIN_RATE, MetricKind, SampleMetric
from vertex_tuning.text.plain_text import control_character, plain
from vertex_tuning.text.suggestions import did_you_mean
from vertex_tuning.text.templates import is_known_now

LOCAL: Final = ("exact_match", "token_f1")
"""Metrics that :mod:`~vertex_tuning.evaluation.text_scores` computes."""
COMPUTED: Final = ("rouge_l_sum", "bleu")
"""Metrics that the evaluation service computes."""
PREDEFINED: Final = ("general_quality", "text_quality")
"""Metrics by which a judge rates one answer, with rubrics that the evaluation service writes for each prompt."""
PAIRWISE: Final = (
    "text_quality", "summarization_quality", "question_answering_quality", "instruction_following", "groundedness",
    "coherence", "fluency", "verbosity", "safety",
)  # fmt: skip
"""Qualities for which Google has a prompt that compares two answers, `vertexai.evaluation` in the client.

Those for conversations are left out: they need the earlier turns apart from the prompt.
"""
METRIC_NAMES: Final = (*LOCAL, *COMPUTED, *PREDEFINED)
METRIC_FORMS: Final = ("pairwise", "rubric")

MAX_METRICS: Final = 10
"""Most metrics of a tuning: each is a request per answer."""
MAX_RUBRICS: Final = 5
"""Most criteria of the user's own."""
MAX_CRITERIA: Final = 4000
"""Most characters of such criteria."""

DEFAULT_METRICS: Final[Mapping[str, Sequence[Any]]] = {
    "classification": ("exact_match",),
    "extractive_qa": ("exact_match", "token_f1"),
    "summarization": ("rouge_l_sum", {"pairwise": "summarization_quality"}),
    "chat": ({"pairwise": "text_quality"},),
}
"""Metrics for each kind of task, if a tuning lists none; `exact_match` for any other task."""

_RULE_VALUES: Final[Mapping[str, str]] = {
    "extractive_qa": "sample.token_f1",
    "summarization": "sample.rouge_l_sum",
    "chat": WIN_RATE,
}

METRIC_VALUES: Final = (
    *(f"sample.{name}" for name in (*LOCAL, *COMPUTED)),
    *(f"judge.{name}" for name in PREDEFINED),
    *("judge.rubric" if number == 1 else f"judge.rubric_{number}" for number in range(1, MAX_RUBRICS + 1)),
    WIN_RATE,
)
"""Names of all values that metrics can have. All are from 0 to 1."""


def default_metrics(task: str | None) -> list[Any]:
    """The metrics of a tuning that lists none.

    :param task: kind of task; a key of :data:`DEFAULT_METRICS`, or any other
    """
    return list(DEFAULT_METRICS.get(task or "", ("exact_match",)))


def default_rule_value(task: str | None) -> str:
    """The value that the promotion rule compares if a tuning does not name one.

    :param task: kind of task
    """
    return _RULE_VALUES.get(task or "", "sample.exact_share")


def parse_metrics(metrics: Any) -> list[SampleMetric]:
    """Parse the metrics of a tuning.

    :param metrics: content of the YAML file
    :raises ConfigurationError: has a line for every mistake, with the field, the value found and what is expected
    """
    if mistakes := list(metric_mistakes(metrics, rendered=True)):
        raise ConfigurationError("\n".join(mistakes))
    parsed, rubrics = [], 0
    for metric in metrics:
        if isinstance(metric, Mapping) and "rubric" in metric:
            rubrics += 1
            name = "rubric" if rubrics == 1 else f"rubric_{rubrics}"
            parsed.append(SampleMetric("rubric", name, metric["rubric"].strip()))
        elif isinstance(metric, Mapping):
            parsed.append(SampleMetric("pairwise", metric["pairwise"]))
        else:
            parsed.append(SampleMetric(_kind(metric), metric))
    return parsed


def metric_mistakes(metrics: Any, *, rendered: bool = False) -> Iterator[str]:
    """Mistakes in the metrics of a tuning.

    :param rendered: whether Airflow has rendered all templates; until then only a run knows what a template stands for
    """
    field = "evaluation.metrics"
    if not isinstance(metrics, list | tuple) or not metrics:
        yield f"{field}: found {_shown(metrics)}, expected a list such as [exact_match, {{pairwise: text_quality}}]."
        return
    if len(metrics) > MAX_METRICS:
        yield f"{field}: found {len(metrics)} of them, expected at most {MAX_METRICS}."
        return
    known = [(f"{field}[{index}]", metric) for index, metric in enumerate(metrics) if rendered or is_known_now(metric)]
    for where, metric in known:
        yield from filter(None, [_form_mistake(where, metric) or _content_mistake(where, metric)])
    yield from _repetitions(field, [metric for _, metric in known])


def needs_judge(metrics: Iterable[SampleMetric]) -> bool:
    """Whether a judge model is paid for."""
    return any(metric.is_judged for metric in metrics)


def _kind(name: str) -> MetricKind:
    if name in LOCAL:
        return "local"
    return "computed" if name in COMPUTED else "predefined"


def _form_mistake(where: str, metric: Any) -> str:
    """Error message for a metric that is neither a name nor a known form; empty if it is."""
    if isinstance(metric, str):
        return ""
    if not isinstance(metric, Mapping) or len(metric) != 1:
        return f"{where}: found {_shown(metric)}, expected a name, {{pairwise: NAME}} or {{rubric: CRITERIA}}."
    form, content = next(iter(metric.items()))
    if form not in METRIC_FORMS:
        return f"{where}: found the field {_shown(form)}, {did_you_mean(str(form), METRIC_FORMS)}"
    if not isinstance(content, str) or not content.strip():
        expected = "a name such as text_quality" if form == "pairwise" else "criteria for the judge, as a text"
        return f"{where}.{form}: found {_shown(content)}, expected {expected}."
    return ""


def _content_mistake(where: str, metric: Any) -> str:
    """Error message for an unknown name, or for criteria that cannot be sent; empty without one."""
    if isinstance(metric, str):
        only_pairs = metric in PAIRWISE and metric not in METRIC_NAMES
        advice = f"expected {{pairwise: {metric}}}: it compares two answers." if only_pairs else ""
        known = metric in METRIC_NAMES
        return "" if known else f"{where}: found {_shown(metric)}, {advice or did_you_mean(metric, METRIC_NAMES)}"
    form, content = next(iter(metric.items()))
    if form == "pairwise":
        known = content in PAIRWISE
        return "" if known else f"{where}.pairwise: found {_shown(content)}, {did_you_mean(content, PAIRWISE)}"
    return _criteria_mistake(f"{where}.rubric", content)


def _criteria_mistake(where: str, criteria: str) -> str:
    if len(criteria) > MAX_CRITERIA:
        return f"{where}: found {len(criteria):,} characters, expected at most {MAX_CRITERIA:,}."
    if "{" in criteria or "}" in criteria:
        return f"{where}: found a brace, expected text without braces: the judge's template has variables in braces."
    if character := control_character(criteria):
        return f"{where}: found the control character {character}, expected plain text."
    return ""


def _repetitions(field: str, metrics: Sequence[Any]) -> Iterator[str]:
    names = Counter(metric for metric in metrics if isinstance(metric, str))
    forms = Counter(form for metric in metrics if isinstance(metric, Mapping) for form in metric)
    for name in (name for name, times in names.items() if times > 1):
        yield f"{field}: found {_shown(name)} {names[name]} times, expected each metric once."
    if forms["pairwise"] > 1:
        yield f"{field}: found {forms['pairwise']} pairwise metrics, expected one: judge.win_rate is its value."
    if forms["rubric"] > MAX_RUBRICS:
        yield f"{field}: found {forms['rubric']} rubrics, expected at most {MAX_RUBRICS}."


def _shown(value: Any) -> str:
    return plain(repr(value), 80)
