"""Evaluate a new model by its gates and in comparison with the model in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.config.switches import parse_switch
from vertex_tuning.evaluation.approval_text import MAX_REASONS, approval_text
from vertex_tuning.evaluation.cases import SmokeCase
from vertex_tuning.evaluation.comparison import (
    VERDICTS,
    JudgedModel,
    Judgement,
    comparison_table,
    judge_models,
    parse_rule,
)
from vertex_tuning.evaluation.gates import ON_MISSING, OnMissing, gate_table, parse_gates
from vertex_tuning.evaluation.predict import PredictLaterError
from vertex_tuning.exceptions import ConfigurationError, ModelRefusedError
from vertex_tuning.operators.base import TuningJobOperator
from vertex_tuning.operators.prediction import PredictionOperator
from vertex_tuning.operators.registry import ChampionOperator
from vertex_tuning.results import SUMMARY_KEY, ComparisonResult, EvaluationResult, ModelRef, SmokeAnswer
from vertex_tuning.text.plain_text import first_lines
from vertex_tuning.text.templates import parse_rendered

if TYPE_CHECKING:
    from airflow.sdk import Context

    from vertex_tuning.jobs.job import TuningJob
    from vertex_tuning.registry.aliases import ModelVersion

Answers = dict[str, list[SmokeAnswer]]


class EvaluateModelOperator(TuningJobOperator, ChampionOperator, PredictionOperator):
    """Decide whether a new model may be used: it must pass its gates and be better, by the rule, than the model in use.

    Both models get the same cases and the same examples. The values of the training come from the jobs; the result says
    so if the models were validated on different data. Verdicts: `first` (no model is in use), `better`, `equal` (as
    good, if the rule accepts that), `unchanged` (the model is in use already), `refused`. The result is written to the
    run's folder as `evaluation.json` and pushed as XCom `evaluation` before a refusal is raised. XCom `summary` is the
    text of the approval request. With `ask_cases` off, the later tasks are skipped. The data is then unrelated to the
    smoke test, and its model must not replace the model in use.

    If the model in use does not respond, no comparison is possible: the task fails and the error says what to do.
    Further parameters: :class:`~vertex_tuning.operators.prediction.PredictionOperator` and
    :class:`~vertex_tuning.operators.registry.ChampionOperator`.

    :param job_name: tuning job of the new model. (templated)
    :param values: values for gates and rule: a mapping from name to number, or a list of such mappings, e.g.
        `[metrics.output["values"], smoke_test.output["values"]]`. Later mappings win. (templated)
    :param rule: rule that decides whether the new model is better; see
        :class:`~vertex_tuning.results.PromotionRule`. (templated)
    :param gates: limits; see :mod:`vertex_tuning.evaluation.gates`. (templated)
    :param on_missing_metrics: whether a gate with a missing value fails (`fail`) or passes (`pass`).
    """

    template_fields: Sequence[str] = tuple(
        dict.fromkeys(
            (
                *TuningJobOperator.template_fields,
                *ChampionOperator.template_fields,
                *PredictionOperator.template_fields,
                "values",
                "rule",
                "gates",
            )
        )
    )
    template_fields_renderers = {"values": "json", "rule": "json", "gates": "json", "cases": "json"}
    operator_extra_links = (*TuningJobOperator.operator_extra_links, *PredictionOperator.operator_extra_links)

    def __init__(
        self,
        *,
        values: Mapping[str, float] | Sequence[Mapping[str, float]] | str,
        rule: Mapping[str, Any] | str,
        gates: Sequence[Mapping[str, Any]] | str | None = None,
        on_missing_metrics: OnMissing = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.values = values
        self.rule = rule
        self.gates = gates or []
        self.on_missing_metrics = on_missing_metrics

    def predict(self, context: Context, deadline: float, answered: Any) -> dict[str, Any]:
        if self.on_missing_metrics not in ON_MISSING:
            raise ConfigurationError(
                f"on_missing_metrics: found {self.on_missing_metrics!r}, expected {' or '.join(ON_MISSING)}."
            )
        self.job = self.hook.get_tuning_job(self.job_name)
        challenger = self.registry.get(self.job.tuned_model.model if self.job.tuned_model else "")
        champion = self.aliases.current(challenger.name).champion
        if champion is None or champion.name == challenger.name:
            return self._conclude(context, challenger, champion, {"challenger": JudgedModel(_values(self.values))}, [])
        champion_job = self.registry.job_of(champion)
        trained = {"champion": self._trained(champion_job), "challenger": _values(self.values)}
        kept = msgspec.convert(answered or {}, Answers)
        sides = self._ask(context, {"champion": champion, "challenger": challenger}, trained, deadline, kept)
        return self._conclude(context, challenger, champion, sides, _notes(champion_job, self.job))

    def _trained(self, job: TuningJob | None) -> dict[str, float]:
        """Training values of the model in use; a model may exist without a job."""
        from vertex_tuning.hooks.experiments import job_values

        return job_values(self.experiments, job) if job else {}

    def _ask(
        self,
        context: Context,
        models: dict[str, ModelVersion],
        trained: dict[str, dict[str, float]],
        deadline: float,
        answered: Answers,
    ) -> dict[str, JudgedModel]:
        """Test both models at the same time."""
        cases, sampled = self.questions()
        endpoints = {side: self.registry.endpoint_of(model) for side, model in models.items()}
        for endpoint in endpoints.values():
            self.hook.client(endpoint)  # created here, so that the threads share one client
        with ThreadPoolExecutor(len(models)) as pool:
            futures = {
                side: pool.submit(self._ask_one, endpoint, [*cases, *sampled], deadline, answered.get(side, []))
                for side, endpoint in endpoints.items()
            }
        results = {side: future.result() for side, future in futures.items()}
        if later := [result for result in results.values() if isinstance(result, PredictLaterError)]:
            self.defer_rest(context, later[0], deadline, {side: _answers(result) for side, result in results.items()})
        found = {side: _answers(result) for side, result in results.items()}
        for side, model in (("champion", "Model in use"), ("challenger", "New model")):
            self.log_answers(model, found[side][: len(cases)], found[side][len(cases) :])
        return {
            side: JudgedModel.of(trained[side], answers[: len(cases)], answers[len(cases) :])
            for side, answers in found.items()
        }

    def _ask_one(
        self, endpoint: str, cases: list[SmokeCase], deadline: float, answered: list[SmokeAnswer]
    ) -> list[SmokeAnswer] | PredictLaterError:
        try:
            return self.predict_cases(endpoint, cases, deadline, answered)
        except PredictLaterError as later:
            return later

    def _conclude(
        self,
        context: Context,
        challenger: ModelVersion,
        champion: ModelVersion | None,
        sides: dict[str, JudgedModel],
        notes: list[str],
    ) -> dict[str, Any]:
        rule = parse_rule(parse_rendered("rule", self.rule, dict[str, Any], "a rule or its JSON"), self.parsed_cases())
        gates = parse_gates(parse_rendered("gates", self.gates, list[Any], "a list of gates or its JSON") or [])
        judged = judge_models(rule, gates, self.on_missing_metrics, sides["challenger"], sides.get("champion"))
        if champion and champion.name == challenger.name and judged.verdict == "first":
            judged = msgspec.structs.replace(judged, verdict="unchanged")
        result = EvaluationResult(
            verdict=judged.verdict,
            reasons=judged.reasons,
            gates=judged.gates,
            model=challenger.name,
            champion=ModelRef(champion.name, champion.job_name) if champion else None,
            champion_model=champion.name if champion else "",
            comparison=ComparisonResult(rule, judged.values, notes),
        )
        self._log(judged, challenger, champion)
        return self._publish(context, result, sides)

    def _log(self, judged: Judgement, challenger: ModelVersion, champion: ModelVersion | None) -> None:
        self.log.info("New model: %s", challenger.name)
        self.log.info("Model in use: %s", champion.name if champion else "none")
        if judged.gates:
            self.log.info("Gates:\n%s", gate_table(judged.gates))
        if judged.values:
            self.log.info("Comparison:\n%s", comparison_table(judged.values))
        if judged.verdict != "refused":  # the error gives a refusal
            self.log.info("%s.", VERDICTS[judged.verdict])

    def _publish(self, context: Context, result: EvaluationResult, sides: dict[str, JudgedModel]) -> dict[str, Any]:
        """Write the complete result, push a part that fits into XCom, and end the run if the model is refused."""
        whole = msgspec.structs.replace(result, answers={side: model.answers() for side, model in sides.items()})
        result = msgspec.structs.replace(
            result,
            reasons=first_lines(result.reasons, MAX_REASONS),
            answers={side: model.short() for side, model in sides.items()},
            result_uri=self.write(result.file_name, whole),
        )
        context["ti"].xcom_push(key=result.xcom_keys[0], value=result.as_xcom())
        context["ti"].xcom_push(key=SUMMARY_KEY, value=approval_text(result, sides["challenger"].values))
        if result.verdict == "refused":
            self.refuse(ModelRefusedError(f"Refused: {' '.join(result.reasons)} New model: {result.model}"))
        if self.cases and not parse_switch("ask_cases", self.ask_cases):
            stays = " The model in use stays." if result.champion else ""
            reason = (
                "Trained and tested only: the new model is not put into use, because this data does not belong to the "
                f"tuning's smoke test.{stays}"
            )
            self.log.info("%s", reason)
            raise AirflowSkipException(reason)
        return result.as_xcom()


def _values(given: Mapping[str, float] | Sequence[Mapping[str, float]] | str) -> dict[str, float]:
    """Merge the values of several tasks.

    :raises ConfigurationError: a part is neither a mapping from names to numbers nor the text of such a mapping
    """
    found: dict[str, float] = {}
    for part in given if isinstance(given, list | tuple) else [given]:
        found |= parse_rendered("values", part, dict[str, float], "numbers by name, or their JSON") or {}
    return found


def _answers(result: list[SmokeAnswer] | PredictLaterError) -> list[SmokeAnswer]:
    return result.answers if isinstance(result, PredictLaterError) else result


def _notes(champion: TuningJob | None, challenger: TuningJob) -> list[str]:
    """Notes for a reader who compares the values."""
    if champion is None:
        return ["The tuning job of the model in use is unknown, so there are no values of its training."]
    (trained, champion_data), (_, challenger_data) = (_data_of(job) for job in (champion, challenger))
    if challenger_data and trained == challenger_data:
        return [
            "The model in use was trained on the validation data of the new model, so the comparison is unfair: it "
            f"knows the answers of the sample. Data: {challenger_data}."
        ]
    if champion_data == challenger_data:
        return []
    return [
        "The models were validated on different data, so do not compare their values of training: model in use "
        f"{champion_data or 'no data'}, new model {challenger_data or 'no data'}. The answers to cases can be "
        "compared; those to the sample only if the model in use was not trained on rows of it."
    ]


def _data_of(job: TuningJob) -> tuple[str, str]:
    """URIs of training and validation data; empty for none."""
    method = job.supervised_tuning_spec or job.preference_optimization_spec
    return (method.training_dataset_uri, method.validation_dataset_uri) if method else ("", "")
