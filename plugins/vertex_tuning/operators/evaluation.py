"""Evaluate a new model by its gates and in comparison with the model in use and the base model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.config.switches import parse_switch
from vertex_tuning.evaluation.approval_text import MAX_REASONS, approval_text
from vertex_tuning.evaluation.cases import SmokeCase
from vertex_tuning.evaluation.checks import ON_UNDECIDED
from vertex_tuning.evaluation.comparison import VERDICTS, JudgedModel, Judgement, comparison_table, judge_models
from vertex_tuning.evaluation.evaluated_rows import answered_rows, evaluated_rows, scores_of, with_scores
from vertex_tuning.evaluation.gates import ON_MISSING, Gate, OnMissing, gate_table, parse_gates
from vertex_tuning.evaluation.promotion_rule import parse_rule
from vertex_tuning.evaluation.sample_metrics import parse_metrics
from vertex_tuning.exceptions import ConfigurationError, ModelRefusedError, VertexRequestError
from vertex_tuning.operators.base import TuningJobOperator
from vertex_tuning.operators.prediction import MAX_KEPT, PredictionOperator, Questions, base_model_of
from vertex_tuning.operators.registry import ChampionOperator
from vertex_tuning.operators.saved_answers import ScoresFile
from vertex_tuning.report.rule_text import gain_text, win_rate_text
from vertex_tuning.resources.resource_names import location_of
from vertex_tuning.results import (
    SUMMARY_KEY,
    ComparisonResult,
    EvaluatedRow,
    EvaluationResult,
    ModelRef,
    PromotionRule,
    SmokeAnswer,
)
from vertex_tuning.scores import SampleMetric, ScoredRow, WinRate
from vertex_tuning.text.plain_text import first_lines
from vertex_tuning.text.templates import parse_rendered, rendered

if TYPE_CHECKING:
    from airflow.sdk import Context

    from vertex_tuning.evaluation.generation_settings import GenerationSettings
    from vertex_tuning.hooks.evaluation_service import EvaluationServiceHook
    from vertex_tuning.jobs.job import TuningJob
    from vertex_tuning.registry.aliases import ModelVersion

OnUndecided = Literal["keep", "promote"]

LABELS: Final = {"champion": "Model in use", "challenger": "New model", "baseline": "Base model"}
"""Names of the models for the log."""


@dataclass
class _Evaluation:
    """The models of an evaluation, and its results so far.

    :param challenger: the new model
    :param champion: the model in use; None without one
    :param job: tuning job of the new model
    :param settings: settings of the prompts
    :param rule: the promotion rule
    :param gates: limits for values of the new model
    :param metrics: metrics of the sample besides exact answers
    :param scores_file: file in the run's folder with the scores so far
    :param baseline: base model that predicts the sample as well; empty without one
    :param rows: the sample with all answers and their scores
    :param win_rate: how often a judge prefers the new model; None if no pairs are judged
    :param notes: notes for a reader of the comparison
    """

    challenger: ModelVersion
    champion: ModelVersion | None
    job: TuningJob
    settings: GenerationSettings
    rule: PromotionRule
    gates: list[Gate]
    metrics: list[SampleMetric]
    scores_file: str
    baseline: str = ""
    rows: list[EvaluatedRow] = field(default_factory=list)
    win_rate: WinRate | None = None
    notes: list[str] = field(default_factory=list)

    def has(self, model: str) -> bool:
        """Whether a model has answered the sample."""
        return bool(self.rows) and model in self.rows[0].answers

    @property
    def is_in_use(self) -> bool:
        """Whether the new model is the model in use already."""
        return self.champion is not None and self.champion.name == self.challenger.name


class EvaluateModelOperator(TuningJobOperator, ChampionOperator, PredictionOperator):
    """Decide whether a new model may be used: it must pass its gates and keep the promotion rule.

    The new model and the model in use get the same cases and the same examples; with `baseline`, the base model gets
    the examples, too. The values of the training come from the jobs; the result says so if the models were validated on
    different data.

    Verdicts: `first` (no model is in use), `better`, `equal` (shown to be as good as the rule requires), `undecided`
    (the sample cannot tell), `unchanged` (the model is in use already), `refused`. The result is written to the run's
    folder as `evaluation.json`, with every example and answer. It is pushed as XCom `evaluation`, without the examples,
    before a refusal is raised. XCom `summary` is the text of the approval request.

    The later tasks are skipped if the verdict is `undecided`, and with `ask_cases` off: the data is then unrelated to
    the smoke test, and its model must not replace the model in use. If the model in use does not respond, no comparison
    is possible: the task fails and the error says what to do.

    Further parameters: :class:`~vertex_tuning.operators.prediction.PredictionOperator` and
    :class:`~vertex_tuning.operators.registry.ChampionOperator`.

    :param job_name: tuning job of the new model. (templated)
    :param values: values for gates and rule: a mapping from name to number, or a list of such mappings, e.g.
        `[metrics.output["values"], smoke_test.output["values"]]`. Later mappings win. (templated)
    :param rule: rule that decides whether the new model may replace the model in use; see
        :class:`~vertex_tuning.results.PromotionRule`. (templated)
    :param gates: limits; see :mod:`vertex_tuning.evaluation.gates`. (templated)
    :param endpoint: endpoint of the new model, e.g. of a chosen checkpoint; by default that of its default checkpoint.
        (templated)
    :param baseline: whether the base model, which is not tuned, gets the sample as well. (templated)
    :param metrics: metrics of the sample besides exact answers, e.g. `["rouge_l_sum", {"pairwise": "text_quality"}]`;
        see :mod:`vertex_tuning.evaluation.sample_metrics`. Some are a judge model's, which costs money. (templated)
    :param on_missing_metrics: whether a gate with a missing value fails (`fail`) or passes (`pass`).
    :param on_undecided: what follows if the sample cannot tell: `keep` keeps the model in use and skips the later
        tasks, `promote` lets them go on.
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
                "endpoint",
                "baseline",
                "metrics",
            )
        )
    )
    template_fields_renderers = dict.fromkeys(("values", "rule", "gates", "cases", "metrics"), "json")
    operator_extra_links = (*TuningJobOperator.operator_extra_links, *PredictionOperator.operator_extra_links)

    def __init__(
        self,
        *,
        values: Mapping[str, float] | Sequence[Mapping[str, float]] | str,
        rule: Mapping[str, Any] | str,
        gates: Sequence[Mapping[str, Any]] | str | None = None,
        endpoint: str | None = None,
        baseline: bool | str = False,
        metrics: Sequence[Any] | str | None = None,
        on_missing_metrics: OnMissing = "fail",
        on_undecided: OnUndecided = "keep",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.values = values
        self.rule = rule
        self.gates = gates or []
        self.endpoint = endpoint
        self.baseline = baseline
        self.metrics = metrics or []
        self.on_missing_metrics = on_missing_metrics
        self.on_undecided = on_undecided

    def predict(self, context: Context, deadline: float) -> dict[str, Any]:
        for name, allowed in (("on_missing_metrics", ON_MISSING), ("on_undecided", ON_UNDECIDED)):
            if (found := getattr(self, name)) not in allowed:
                raise ConfigurationError(f"{name}: found {found!r}, expected {' or '.join(allowed)}.")
        self.job = self.hook.get_tuning_job(self.job_name)
        challenger = self.registry.get(self.job.tuned_model.model if self.job.tuned_model else "")
        champion = self.aliases.current(challenger.name).champion
        evaluation = _Evaluation(
            challenger,
            champion,
            self.job,
            self.settings(base_model_of(self.job)),
            *self._criteria(),
            scores_file=self.own_file("scores-so-far", context),
        )
        if evaluation.is_in_use:
            return self._conclude(context, evaluation, {"challenger": JudgedModel(_values(self.values))})
        cases, sampled = self.questions(evaluation.settings)
        # Without a model in use, the answers of the smoke test say enough about the cases.
        cases = cases if champion else []
        models = self._questions_of(evaluation, cases, sampled)
        answers, notes = self.predict_models(context, models, deadline) if models else ({}, [])
        evaluation.notes += [*self._same_rows(evaluation.job), *notes]
        return self._conclude(context, evaluation, self._judged_models(evaluation, answers, len(cases), sampled))

    def _criteria(self) -> tuple[PromotionRule, list[Gate], list[SampleMetric]]:
        """Rule, gates and metrics. These and the values are parsed before any prompt is paid for."""
        rule = parse_rendered("rule", self.rule, dict[str, Any], "a rule or its JSON")
        gates = parse_rendered("gates", self.gates, list[Any], "a list of gates or its JSON")
        metrics = parse_rendered("metrics", self.metrics, list[Any], "a list of metrics or its JSON")
        _values(self.values)
        return (
            parse_rule(rule, self.parsed_cases()),
            parse_gates(gates or []),
            parse_metrics(metrics) if metrics else [],
        )

    def _same_rows(self, job: TuningJob) -> list[str]:
        """A note if the rows of the sample were used during the training."""
        if not rendered(self.sample_uri) or self.sample_uri != _data_of(job)[1]:
            return []
        return [
            "Selection and proof use the same rows: the validation data, which measures the training, also compares "
            "the models. Set test_data or dataset.test_fraction to compare them on other rows."
        ]

    def _questions_of(
        self, evaluation: _Evaluation, cases: list[SmokeCase], sampled: list[SmokeCase]
    ) -> dict[str, Questions]:
        """The prompts for each model. It is empty for a first model without a sample."""
        asked, models = [*cases, *sampled], {}
        if evaluation.champion:
            # Searched also without prompts: a model in use without an endpoint must be said.
            endpoint = self.registry.endpoint_of(evaluation.champion)
            models["champion"] = Questions(LABELS["champion"], endpoint, asked)
        if asked:
            endpoint = rendered(self.endpoint) or self.registry.endpoint_of(evaluation.challenger)
            models["challenger"] = Questions(LABELS["challenger"], endpoint, asked)
        base = base_model_of(evaluation.job)
        if sampled and base and parse_switch("baseline", self.baseline):
            evaluation.baseline = base
            # Where the tuned model responds: some base models serve only from there, and not where they are tuned.
            name = self.hook.base_model_name(base, location_of(models["challenger"].endpoint))
            models["baseline"] = Questions(LABELS["baseline"], name, sampled, is_optional=True)
        return models

    def _judged_models(
        self, evaluation: _Evaluation, answers: dict[str, list[SmokeAnswer]], cases: int, sampled: list[SmokeCase]
    ) -> dict[str, JudgedModel]:
        """Each model with its values.

        :param answers: responses of each model: to the cases, then to the sample; of the base model to the sample only
        :param cases: number of cases
        :param sampled: the examples of the sample
        """
        of_cases = {model: given[:cases] for model, given in answers.items() if model != "baseline"}
        of_sample = {model: given[len(of_cases.get(model, ())) :] for model, given in answers.items()}
        evaluation.rows = evaluated_rows(sampled, of_sample)
        self._score(evaluation, sampled)
        judged = {}
        for model, values in self._trained_values(evaluation).items():
            if model == "challenger" or model in answers:
                scores = scores_of(evaluation.rows, model)
                judged[model] = JudgedModel.of(values, of_cases.get(model, ()), of_sample.get(model, ()), scores)
                self.log_answers(LABELS[model], judged[model].cases, judged[model].sampled)
        return judged

    def _score(self, evaluation: _Evaluation, sampled: list[SmokeCase]) -> None:
        """Score the answers to the sample by the metrics, some of them by Google's evaluation service."""
        if not evaluation.rows or not evaluation.metrics:
            return
        from vertex_tuning.evaluation.judging import MODEL_IN_USE, NEW_MODEL, score_models

        metrics, other = evaluation.metrics, MODEL_IN_USE
        if evaluation.champion is None:
            # For a first model, a judge compares with the base model.
            other = "baseline"
            if not evaluation.has("baseline"):
                metrics = [metric for metric in metrics if metric.kind != "pairwise"]
        found = score_models(
            self.evaluation_service,
            answered_rows(sampled, evaluation.rows),
            metrics,
            pair=(NEW_MODEL, other),
            known=self._saved_scores(evaluation.scores_file, metrics),
            save=partial(self._save_scores, evaluation.scores_file, metrics),
        )
        evaluation.rows = with_scores(evaluation.rows, found.rows, NEW_MODEL, other)
        evaluation.win_rate = found.win_rate
        evaluation.notes += [
            f"{value}: {number} of {len(evaluation.rows)} examples have no score."
            for value, number in found.errors.items()
        ]
        if found.win_rate and other == "baseline":
            evaluation.notes.append("The judge compares with the base model, because no model is in use.")

    @cached_property
    def evaluation_service(self) -> EvaluationServiceHook:
        """Google's evaluation service, in the location of the task."""
        from vertex_tuning.hooks.evaluation_service import EvaluationServiceHook

        return EvaluationServiceHook(self.connection)

    def _save_scores(self, name: str, metrics: list[SampleMetric], rows: list[ScoredRow]) -> None:
        self.write(name, ScoresFile(metrics, rows))

    def _saved_scores(self, name: str, metrics: list[SampleMetric]) -> list[ScoredRow]:
        """Scores of an earlier attempt by the same metrics; empty without any, or if they cannot be read."""
        uri = self.uri(name)
        try:
            found = msgspec.json.decode(self.storage.read_object(uri, MAX_KEPT), type=ScoresFile) if uri else None
        except (VertexRequestError, msgspec.ValidationError, msgspec.DecodeError):
            return []
        return found.rows if found and found.metrics == metrics else []

    def _trained_values(self, evaluation: _Evaluation) -> dict[str, dict[str, float]]:
        """Values of the training of each model; a model in use may exist without a job."""
        from vertex_tuning.hooks.experiments import job_values

        values = {"challenger": _values(self.values), "baseline": dict[str, float]()}
        if evaluation.champion:
            job = self.registry.job_of(evaluation.champion)
            evaluation.notes += _notes(job, evaluation.job, rendered(self.sample_uri) or "")
            values["champion"] = job_values(self.experiments, job) if job else {}
        return values

    def _conclude(self, context: Context, evaluation: _Evaluation, models: dict[str, JudgedModel]) -> dict[str, Any]:
        rule, gates = evaluation.rule, evaluation.gates
        champion, challenger = evaluation.champion, evaluation.challenger
        judged = judge_models(
            rule, gates, self.on_missing_metrics, models["challenger"], models.get("champion"), models.get("baseline")
        )
        if evaluation.is_in_use and judged.verdict == "first":
            judged = msgspec.structs.replace(judged, verdict="unchanged")
        result = EvaluationResult(
            verdict=judged.verdict,
            reasons=judged.reasons,
            gates=judged.gates,
            model=challenger.name,
            champion=ModelRef(champion.name, champion.job_name) if champion else None,
            champion_model=champion.name if champion else "",
            comparison=ComparisonResult(
                rule, judged.values, judged.gain, judged.needed, evaluation.win_rate, evaluation.notes
            ),
            baseline=evaluation.baseline if "baseline" in models else "",
            settings=msgspec.to_builtins(evaluation.settings.given()),
            rows=evaluation.rows,
        )
        self._log(judged, rule, evaluation)
        return self._publish(context, result, models)

    def _log(self, judged: Judgement, rule: PromotionRule, evaluation: _Evaluation) -> None:
        champion = evaluation.champion
        self.log.info("New model: %s", evaluation.challenger.name)
        self.log.info("Model in use: %s", champion.name if champion else "none")
        for note in evaluation.notes:
            self.log.warning("%s", note)
        if judged.gates:
            self.log.info("Gates:\n%s", gate_table(judged.gates))
        if judged.values:
            self.log.info("Comparison:\n%s", comparison_table(judged.values))
        if judged.gain:
            self.log.info("%s.", gain_text(rule.value, judged.gain))
        elif champion and not evaluation.is_in_use:
            self.log.info("The rule compares the bare numbers of %s, without a confidence bound.", rule.value)
        if evaluation.win_rate:
            self.log.info("%s", win_rate_text(evaluation.win_rate))
        if judged.verdict not in ("refused", "undecided"):  # the last message says why
            self.log.info("%s.", VERDICTS[judged.verdict])

    def _publish(self, context: Context, result: EvaluationResult, sides: dict[str, JudgedModel]) -> dict[str, Any]:
        """Write the complete result, push a part that fits into XCom, and end the run if the model is refused."""
        whole = msgspec.structs.replace(result, answers={side: model.answers() for side, model in sides.items()})
        result = msgspec.structs.replace(
            result,
            reasons=first_lines(result.reasons, MAX_REASONS),
            answers={side: model.short() for side, model in sides.items()},
            rows=[],
            result_uri=self.write(result.file_name, whole),
        )
        context["ti"].xcom_push(key=result.xcom_keys[0], value=result.as_xcom())
        context["ti"].xcom_push(key=SUMMARY_KEY, value=approval_text(result, sides["challenger"].values))
        if result.verdict == "refused":
            self.refuse(ModelRefusedError(f"Refused: {' '.join(result.reasons)} New model: {result.model}"))
        if result.verdict == "undecided":
            self._conclude_undecided(result)
        if self.cases and not parse_switch("ask_cases", self.ask_cases):
            stays = " The model in use stays." if result.champion else ""
            reason = (
                "Trained and tested only: the new model is not put into use, because this data does not belong to the "
                f"tuning's smoke test.{stays}"
            )
            self.log.info("%s", reason)
            raise AirflowSkipException(reason)
        return result.as_xcom()

    def _conclude_undecided(self, result: EvaluationResult) -> None:
        found = f"Undecided: {' '.join(result.reasons)}"
        if self.on_undecided == "promote":
            self.log.warning("%s The later tasks go on, because on_undecided is 'promote'.", found)
            return
        reason = f"{found} The model in use stays."
        self.log.warning("%s", reason)
        raise AirflowSkipException(reason)


def _values(given: Mapping[str, float] | Sequence[Mapping[str, float]] | str) -> dict[str, float]:
    """Merge the values of several tasks.

    :raises ConfigurationError: a part is neither a mapping from names to numbers nor the text of such a mapping
    """
    found: dict[str, float] = {}
    for part in given if isinstance(given, list | tuple) else [given]:
        found |= parse_rendered("values", part, dict[str, float], "numbers by name, or their JSON") or {}
    return found


def _notes(champion: TuningJob | None, challenger: TuningJob, sample: str) -> list[str]:
    """Notes for a reader who compares the values.

    :param sample: URI of the data that the sample is from; empty without a sample
    """
    if champion is None:
        return ["The tuning job of the model in use is unknown, so there are no values of its training."]
    (trained, champion_data), (_, challenger_data) = (_data_of(job) for job in (champion, challenger))
    if sample and trained == sample:
        return [
            "The model in use was trained on the data of the sample, so the comparison is unfair: it knows its "
            f"answers. Data: {sample}."
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
