"""Build the parts of a report that show the evidence for a verdict: gates, answers and the comparison of the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from vertex_tuning.report import content as to
from vertex_tuning.report.confusion import LabelTable, label_table
from vertex_tuning.report.names import value_label, words
from vertex_tuning.report.parts import ANSWER_CHARACTERS_SHOWN, MAX_ANSWERS, failed_first, shown_text
from vertex_tuning.report.rule_text import wanted_gain, win_rate_text
from vertex_tuning.results import EvaluatedRow, EvaluationResult, ModelAnswers, PromotionRule, SmokeAnswer
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, TEXT_SHOWN, plain

ROW_CHARACTERS_SHOWN: Final = MESSAGE_SHOWN
"""Most characters of a prompt, a reference or an answer of the sample on the page."""

_EXACT: Final = "sample.exact_share"
"""Value whose score every row has."""
_RIGHT_OR_WRONG: Final = (_EXACT, "sample.exact_match")
"""Values whose score is 0 or 1: the page says right or wrong instead."""


def gates(evaluation: EvaluationResult) -> list[to.GateRow]:
    """One row for each gate."""
    return [
        to.GateRow(gate.value, value_label(gate.value), gate.found, gate.limit, gate.verdict)
        for gate in evaluation.gates
    ]


def sample_answers(evaluation: EvaluationResult) -> to.AnswerList | None:
    """The new model's answers to the sample; None without a sample."""
    counts = evaluation.answers.get("challenger", ModelAnswers()).sample
    if not counts.total:
        return None
    rows = [row for row in evaluation.rows if "challenger" in row.answers]
    shown = failed_first(rows, lambda row: "challenger" in row.problems)
    answers = [_sample_answer(row) for row in shown]
    return to.AnswerList(counts.passed, counts.total, answers, evaluation.result_uri or "")


def _sample_answer(row: EvaluatedRow) -> to.Answer:
    texts = {"prompt": row.prompt, "answer": row.answers["challenger"], "problem": row.problems.get("challenger", "")}
    shown = {field: shown_text(text, ROW_CHARACTERS_SHOWN) for field, text in texts.items()}
    return to.Answer(name="", finish_reason="", latency=None, tokens=None, **shown)


def labels(evaluation: EvaluationResult) -> LabelTable | None:
    """The sample's answers by label; None if the expected answers are no labels."""
    table = label_table(evaluation.rows)
    if table is None:
        return None
    return msgspec.structs.replace(table, labels=[plain(label, TEXT_SHOWN) for label in table.labels])


def comparison(evaluation: EvaluationResult) -> to.Comparison | None:
    """The comparison of the models; None if the new model was the only one."""
    if not evaluation.champion and not evaluation.baseline:
        return None
    compared = evaluation.comparison
    rule, bounded = compared.rule, compared.gain is not None
    pairs = sorted(_pairs(evaluation), key=lambda pair: pair.rank)
    return to.Comparison(
        champion=evaluation.champion.model if evaluation.champion else "",
        challenger=evaluation.model,
        rule=_rule(rule, bounded=bounded) if rule and evaluation.champion else "",
        notes=compared.notes,
        values=[
            to.Compared(name, value_label(name), found.champion, found.challenger, found.baseline)
            for name, found in compared.values.items()
        ],
        answers=[pair.shown() for pair in pairs[:MAX_ANSWERS]],
        baseline=evaluation.baseline,
        settings=list(_settings(evaluation.settings)),
        value=rule.value if rule else "",
        gain=compared.gain,
        least_gain=rule.least_gain(bounded=bounded) if rule else None,
        needed=compared.needed,
        judge=win_rate_text(compared.win_rate) if compared.win_rate else "",
        answered=len(pairs),
        differing=sum(pair.differs for pair in pairs),
        file=evaluation.result_uri or "",
    )


def _rule(rule: PromotionRule, *, bounded: bool) -> str:
    how = (
        f"The lower bound of the gain counts, with {rule.confidence * 100:.4g} % confidence."
        if bounded and rule.confidence
        else "The bare numbers are compared, without a confidence bound."
    )
    cases = ", ".join(rule.no_regression)
    kept = f" Cases that the model in use passes must not fail: {cases}." if cases else ""
    return f"{value_label(rule.value)} ({rule.value}): {wanted_gain(rule, bounded=bounded)} {how}{kept}"


def _settings(given: Mapping[str, Any]) -> Iterator[to.Fact]:
    """Settings of the prompts, with a fact for each setting of thinking; lists and objects as JSON."""
    thinking = given.get("thinking_config") or {}
    for name, value in {**given, "thinking_config": None, **thinking}.items():
        if isinstance(value, int | float):
            yield to.Fact(words(name), value)
        elif value is not None:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            yield to.Fact(words(name), plain(text, TEXT_SHOWN))


class _Pair(msgspec.Struct, frozen=True):
    """The answers of two models to a prompt, and of the base model.

    :param new: answer of the new model
    :param old: answer of the model in use, or of the base model for a first model
    :param gain: score of the new model less score of the other
    :param texts: fields of :class:`~vertex_tuning.report.content.AnswerPair`
    :param limit: most characters of each text
    :param scores: score of each answer by the rule's value, if it is graded
    """

    new: str
    old: str
    is_right: bool
    gain: float
    texts: dict[str, str | None]
    limit: int
    scores: dict[str, float] = {}

    @property
    def differs(self) -> bool:
        return self.new.strip() != self.old.strip()

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """Sort key: answers that differ first, of these the wrong ones, and of these the largest loss."""
        return not self.differs, self.is_right, -self.gain if self.is_right else self.gain

    def shown(self) -> to.AnswerPair:
        """The pair with texts that are short enough for a page."""
        texts = {name: None if text is None else shown_text(text, self.limit) for name, text in self.texts.items()}
        return msgspec.convert({**texts, "scores": self.scores, "differs": self.differs}, to.AnswerPair)


def _pairs(evaluation: EvaluationResult) -> Iterator[_Pair]:
    other = "champion" if evaluation.champion else "baseline"
    value = evaluation.comparison.rule.value if evaluation.comparison.rule else _EXACT
    champion, challenger = (evaluation.answers.get(side, ModelAnswers()) for side in ("champion", "challenger"))
    answered = {answer.name: answer for answer in champion.cases.answers}
    # By name: in an XCom each side has a few answers, not always to the same prompts.
    for answer in challenger.cases.answers:
        if answer.name in answered:
            yield _case_pair(answered[answer.name], answer)
    for row in evaluation.rows:
        if {other, "challenger"} <= row.answers.keys():
            yield _row_pair(row, other, value)


def _choice(row: EvaluatedRow) -> str:
    """A judge's choice between a pair; empty if no pairs are judged."""
    if row.choice is None:
        return ""
    if row.choice.preferred is None:
        return f"No choice: {row.choice.error}"
    preferred = {"new": "Prefers the new model", "old": "Prefers the other model", "tie": "Prefers neither"}
    return ". ".join([preferred[row.choice.preferred], *row.choice.reasons])


def _case_pair(old: SmokeAnswer, new: SmokeAnswer) -> _Pair:
    return _Pair(
        new=new.answer,
        old=old.answer,
        is_right=not new.problem,
        gain=bool(old.problem) - bool(new.problem),
        texts={
            "name": new.name,
            "prompt": new.prompt,
            "champion": old.answer,
            "champion_problem": old.problem,
            "challenger": new.answer,
            "challenger_problem": new.problem,
        },
        limit=ANSWER_CHARACTERS_SHOWN,
    )


def _row_pair(row: EvaluatedRow, other: str, value: str) -> _Pair:
    scores = row.scores.get(value) or row.scores.get(_EXACT, {})
    models = ("champion", "challenger", "baseline")
    return _Pair(
        new=row.answers["challenger"],
        old=row.answers[other],
        is_right="challenger" not in row.problems,
        gain=scores.get("challenger", 0.0) - scores.get(other, 0.0),
        texts={
            "name": row.id,
            "prompt": row.prompt,
            "reference": row.reference,
            **{model: row.answers.get(model) for model in models},
            **{f"{model}_problem": row.problems.get(model, "") for model in models},
            "judged": _choice(row),
        },
        limit=ROW_CHARACTERS_SHOWN,
        scores={} if value in _RIGHT_OR_WRONG else row.scores.get(value, {}),
    )
