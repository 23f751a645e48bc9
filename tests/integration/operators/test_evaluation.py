"""A new model against its gates and against the one in use: both trained, both asked."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from vertex_tuning.evaluation.predict import Backoff
from vertex_tuning.exceptions import ChampionError, ConfigurationError, ModelRefusedError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.registry.aliases import CHAMPION

from tests.support.emulator import classification_rows, upload
from tests.support.google_cloud import LOCATION, TRAINING, VALIDATION
from tests.support.lineage import aliases, models, train
from tests.support.tasks import TaskContext, execute
from tests.support.waiting import wait_until

TUNING = "evaluated"
LOST, LATE = "My card is lost, message 3.", "My card is late, message 5."
CASES = [{"name": "lost", "prompt": LOST, "equals": "lost"}, {"name": "late", "prompt": LATE, "equals": "late"}]
RULE = {"value": "sample.exact_share"}
SAMPLE = 10
"""Default of the operator."""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def trained() -> dict[str, TuningJob]:
    return {}


@pytest.fixture
def good(trained: dict[str, TuningJob]) -> TuningJob:
    if "good" not in trained:
        trained["good"] = train(TUNING, epoch_count=6)
    return trained["good"]


@pytest.fixture
def bad(trained: dict[str, TuningJob], emulator: str) -> TuningJob:
    """Trained on rows whose answers were mixed up."""
    if "bad" not in trained:
        rows = classification_rows(60)
        for row, other in itertools.pairwise(rows):
            row["contents"][1] = other["contents"][1]
        mixed = upload(emulator, "gs://data/mixed-up.jsonl", rows)
        trained["bad"] = train(TUNING, epoch_count=6, training_uri=mixed, validation_uri=mixed)
    return trained["bad"]


def model_of(job: TuningJob) -> str:
    assert job.tuned_model
    return job.tuned_model.model


@pytest.fixture
def alias() -> str:
    """An alias of one's own, so that each test has a registry without champion."""
    return f"champion-{next(_numbers)}"


@pytest.fixture
def crown(alias: str) -> Iterator[Callable[[TuningJob], None]]:
    """Put a model into use."""
    crowned: list[str] = []

    def put(job: TuningJob) -> None:
        crowned.append(model_of(job))
        RegistryHook(GoogleConnection(location=LOCATION)).merge_aliases(crowned[-1], [alias])

    yield put
    for model in crowned:
        RegistryHook(GoogleConnection(location=LOCATION)).merge_aliases(model, [f"-{alias}"])


def evaluation(job: TuningJob, alias: str, **arguments: Any) -> EvaluateModelOperator:
    given: dict[str, Any] = {
        "values": {"eval_total_loss.last": 0.2, "sample.exact_share": 1.0},
        "rule": RULE,
        "cases": CASES,
        "sample_uri": VALIDATION,
        "tuning": TUNING,
        "champion_alias": alias,
    }
    return EvaluateModelOperator(task_id="evaluate", job_name=job.name, **{**given, **arguments})


def refused(job: TuningJob, alias: str, **arguments: Any) -> dict[str, Any]:
    """The evaluation of a model that is refused."""
    context = TaskContext()
    with pytest.raises(ModelRefusedError) as error:
        execute(evaluation(job, alias, **arguments), context)
    result: dict[str, Any] = context.xcoms["evaluation"]
    assert result["verdict"] == "refused"
    assert all(reason in str(error.value) for reason in result["reasons"])
    return result


def asked(emulator: str) -> list[str]:
    """The endpoints asked, one for each prompt."""
    log = httpx.get(f"{emulator}/_internal/requests", params={"method": "endpoints.generateContent"}).json()
    return [entry["path"].removeprefix("/v1beta1/").partition(":")[0] for entry in log["requests"]]


class TestVerdicts:
    def test_the_first_model_gets_the_sample_alone(self, good: TuningJob, alias: str, emulator: str) -> None:
        """The smoke test has asked it the cases."""
        context = TaskContext()
        result = execute(evaluation(good, alias), context)
        assert (result["verdict"], result["champion"], result["reasons"]) == ("first", None, [])
        assert context.xcoms["evaluation"] == result
        assert "There is no model in use" in context.xcoms["summary"]
        assert good.tuned_model
        assert asked(emulator) == [good.tuned_model.endpoint] * SAMPLE
        assert result["answers"]["challenger"]["sample"] == {"passed": SAMPLE, "total": SAMPLE}

    def test_a_better_one(
        self, good: TuningJob, bad: TuningJob, alias: str, crown: Any, emulator: str, storage: StorageHook, capfd: Any
    ) -> None:
        crown(bad)
        folder = "gs://bucket/runs/1"
        context = TaskContext()
        result = execute(evaluation(good, alias, run_folder=folder, values='{"eval_total_loss.last": 0.2}'), context)
        assert (result["verdict"], result["reasons"]) == ("better", [])
        assert result["champion"] == {"model": model_of(bad), "job": bad.name}
        shares = result["comparison"]["values"]["sample.exact_share"]
        assert shares["challenger"] == 1.0 > shares["champion"]
        assert result["comparison"]["gain"]["lower"] > 0
        places = asked(emulator)
        for job in (good, bad):
            assert job.tuned_model
            assert places.count(job.tuned_model.endpoint) == len(CASES) + SAMPLE
        whole = json.loads(storage.read_object(f"{folder}/evaluation.json", 2**20))
        assert result["result_uri"] == f"{folder}/evaluation.json"
        assert {side: whole["answers"][side]["cases"]["total"] for side in whole["answers"]} == {
            "champion": 2,
            "challenger": 2,
        }
        assert result["answers"]["champion"]["sample"] == {"passed": 0, "total": SAMPLE}
        assert len(whole["rows"]) == SAMPLE
        assert result["rows"] == []
        row = whole["rows"][0]
        assert row["answers"]["challenger"] == row["reference"] != row["answers"]["champion"]
        assert row["scores"]["sample.exact_share"] == {"champion": 0.0, "challenger": 1.0}
        assert "expected" in row["problems"]["champion"]
        assert whole["settings"]["max_output_tokens"] == 1024
        log = capfd.readouterr().out
        assert re.search(r"value +base model +model in use +new model", log)
        assert re.search(r"sample.exact_share +- +0 +1", log)
        assert re.search(r"Gain \+100 percentage points \(lower bound \+\d+", log)

    def test_a_worse_one_and_the_champion_stays(self, good: TuningJob, bad: TuningJob, alias: str, crown: Any) -> None:
        crown(good)
        result = refused(bad, alias)
        assert re.fullmatch(
            r"Exact answers on the sample: \d+ %, model in use 100 %\. Gain -\d+ percentage points \(.*\)\. "
            r"The new model must be shown to be at most 2 percentage points lower\.",
            result["reasons"][0],
        )
        assert aliases(TUNING)[model_of(good)] == [alias]
        with pytest.raises(AirflowSkipException, match=r"^Refused: Exact answers on the sample"):
            execute(evaluation(bad, alias, on_refused="skip"))

    def test_data_about_something_else_makes_no_candidate(
        self, good: TuningJob, bad: TuningJob, alias: str, crown: Any
    ) -> None:
        crown(bad)
        context = TaskContext()
        with pytest.raises(AirflowSkipException, match="Trained and tested only"):
            execute(evaluation(good, alias, ask_cases="False"), context)
        assert context.xcoms["evaluation"]["verdict"] == "better"
        assert aliases(TUNING)[model_of(bad)] == [alias]

    def test_the_one_in_use_already(self, good: TuningJob, alias: str, crown: Any, emulator: str) -> None:
        crown(good)
        assert execute(evaluation(good, alias))["verdict"] == "unchanged"
        assert asked(emulator) == []

    def test_a_gain_that_is_too_small(self, good: TuningJob, bad: TuningJob, alias: str, crown: Any) -> None:
        crown(bad)
        rule = {"value": "sample.exact_share", "min_gain": 0.99}
        with pytest.raises(AirflowSkipException, match="must be shown to be at least 99 percentage points higher"):
            execute(evaluation(good, alias, rule=rule))
        bare = {**rule, "confidence": None, "min_gain": 1.5}
        [reason] = refused(good, alias, rule=bare)["reasons"]
        assert reason.endswith("The new model must be at least 150 percentage points higher.")

    def test_a_sample_that_cannot_tell(self, good: TuningJob, alias: str, crown: Any) -> None:
        """As good as the model in use on ten examples, which shows little."""
        twin = train(TUNING, epoch_count=6, training_uri=TRAINING, validation_uri=VALIDATION)
        crown(good)
        context = TaskContext()
        with pytest.raises(AirflowSkipException, match=r"^Undecided: .* 10 examples cannot tell\. About 133 would"):
            execute(evaluation(twin, alias), context)
        result = context.xcoms["evaluation"]
        assert (result["verdict"], result["comparison"]["needed"]) == ("undecided", 133)
        assert aliases(TUNING)[model_of(good)] == [alias]
        promoted = execute(evaluation(twin, alias, on_undecided="promote"))
        assert promoted["verdict"] == "undecided"
        assert execute(evaluation(twin, alias, rule={**RULE, "confidence": None}))["verdict"] == "equal"

    def test_a_case_that_passed_before(self, good: TuningJob, bad: TuningJob, alias: str, crown: Any) -> None:
        """Better by the rule's value, but not on a case that counts."""
        crown(good)
        rule = {"value": "fame", "higher_is_better": False, "no_regression": ["lost"]}
        result = refused(bad, alias, rule=rule, values={"fame": 0.0})
        assert [reason.partition(":")[0] for reason in result["reasons"]] == [
            "Fame",
            "Case 'lost' fails (expected 'lost', found 'stolen'), and passes with the model in use.",
        ]


class TestGates:
    def test_of_the_new_model_alone(self, good: TuningJob, alias: str) -> None:
        gates = [{"value": "eval_total_loss.last", "max": 0.1}, {"value": "overfitting", "max": 0}]
        result = refused(good, alias, gates=gates)
        assert [gate["verdict"] for gate in result["gates"]] == ["failed", "missing"]
        assert result["reasons"] == [
            "Validation loss, last: 0.2, expected at most 0.1.",
            "Over-fitting: unknown, expected at most 0.",
        ]
        lenient = execute(evaluation(good, alias, gates=gates[1:], on_missing_metrics="pass"))
        assert lenient["verdict"] == "first"

    def test_against_the_values_the_champions_job_left(
        self, good: TuningJob, bad: TuningJob, alias: str, crown: Any
    ) -> None:
        crown(good)
        gate = {"value": "eval_total_loss.last", "max_increase": 0.0}
        result = refused(bad, alias, gates=[gate], values={"eval_total_loss.last": 9.0})
        both = result["comparison"]["values"]["eval_total_loss.last"]
        assert 0 < both["champion"] < 9.0 == both["challenger"]
        assert result["gates"][0]["verdict"] == "failed"

    def test_a_model_in_use_that_knows_the_sample_is_told(self, bad: TuningJob, alias: str, crown: Any) -> None:
        crown(bad)
        assert bad.supervised_tuning_spec
        known = bad.supervised_tuning_spec.training_dataset_uri
        new = train(TUNING, epoch_count=1, validation_uri=known)
        gate = {"value": "eval_total_loss.last", "max": 0.0}
        same, note = refused(new, alias, gates=[gate], sample_uri=known)["comparison"]["notes"]
        assert same.startswith("Selection and proof use the same rows")
        assert "was trained on the data of the sample, so the comparison is unfair" in note
        assert known in note

    def test_a_model_in_use_that_knows_the_test_data_is_told(
        self, good: TuningJob, bad: TuningJob, alias: str, crown: Any
    ) -> None:
        """Its data is no longer the validation data once the tuning has test data."""
        crown(bad)
        assert bad.supervised_tuning_spec
        known = bad.supervised_tuning_spec.training_dataset_uri
        gate = {"value": "eval_total_loss.last", "max": 0.0}
        [note] = refused(good, alias, gates=[gate], sample_uri=known)["comparison"]["notes"]
        assert "was trained on the data of the sample, so the comparison is unfair" in note

    def test_values_of_different_data_are_told_apart(
        self, good: TuningJob, bad: TuningJob, alias: str, crown: Any
    ) -> None:
        crown(good)
        [note] = refused(bad, alias)["comparison"]["notes"]
        assert "validated on different data" in note
        assert VALIDATION in note


class TestAsking:
    def test_a_champion_that_answers_no_more(
        self, good: TuningJob, alias: str, emulator: str, control: Callable[..., None]
    ) -> None:
        [gone] = models(control, TUNING, 1)
        registry = RegistryHook(GoogleConnection(location=LOCATION))
        registry.merge_aliases(gone, [alias])
        [endpoint] = registry.get(gone).endpoints
        [deployed] = httpx.get(f"{emulator}/v1/{endpoint}").json()["deployedModels"]
        body = {"deployedModelId": deployed["id"]}
        httpx.post(f"{emulator}/v1/{endpoint}:undeployModel", json=body).raise_for_status()
        with pytest.raises(ChampionError, match="Deploy it again, or take its alias away"):
            execute(evaluation(good, alias))
        registry.merge_aliases(gone, [f"-{alias}"])
        assert execute(evaluation(good, alias))["verdict"] == "first"

    def test_a_storm_is_waited_out(self, good: TuningJob, bad: TuningJob, alias: str, crown: Any, control: Any) -> None:
        control("faults", method="endpoints.generateContent", count=6, error={"code": 429})
        crown(bad)
        operator = evaluation(good, alias)
        operator.backoff = Backoff(first=0.01)
        assert execute(operator)["verdict"] == "better"

    def test_a_long_one_without_a_worker_and_answers_are_kept(
        self, good: TuningJob, bad: TuningJob, alias: str, crown: Any, control: Any, emulator: str
    ) -> None:
        crown(bad)
        assert good.tuned_model
        place = good.tuned_model.endpoint.rpartition("/")[2]
        control("faults", method="endpoints.generateContent", resource=place, error={"code": 503})
        operator = evaluation(good, alias)
        operator.patience = 0.0
        with pytest.raises(TaskDeferred) as deferred:
            execute(operator)
        kwargs = json.loads(json.dumps(deferred.value.kwargs))
        kept = {model: len(answers) for model, answers in kwargs["answered"]["answers"].items()}
        assert (deferred.value.method_name, max(kept.values())) == ("predict_rest", len(CASES) + SAMPLE)
        for kind in ("faults", "requests"):
            httpx.delete(f"{emulator}/_internal/{kind}")
        result = operator.predict_rest(TaskContext(), **kwargs)  # type: ignore[arg-type]
        assert result["verdict"] == "better"
        assert set(asked(emulator)) == {good.tuned_model.endpoint}


def test_arguments_may_be_parts_of_other_results_or_texts_that_templates_render(good: TuningJob, alias: str) -> None:
    given: dict[str, Any] = {
        "values": [{"eval_total_loss.last": 9.0}, '{"eval_total_loss.last": 0.2}'],
        "gates": json.dumps([{"value": "eval_total_loss.last", "max": 0.5}]),
        "rule": json.dumps(RULE),
        "cases": json.dumps(CASES),
    }
    result = execute(evaluation(good, alias, **given))
    assert [(gate["found"], gate["verdict"]) for gate in result["gates"]] == [(0.2, "passed")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gates": "{{"}, "gates: found '{{', expected a list of gates or its JSON."),
        ({"rule": {}}, "rule: found"),
        ({"rule": {"value": "x", "margin": 1}}, "margin"),
        ({"rule": {"value": "x", "confidence": 0}}, "rule.confidence: found 0.0"),
        ({"on_undecided": "wait"}, "on_undecided: found 'wait', expected keep or promote"),
        ({"generation_config": {"heat": 1}}, "generation_config: found"),
        ({"rule": {"value": "x", "no_regression": ["Lost"]}}, r"rule.no_regression: found 'Lost'"),
        ({"values": "{'a': 1}"}, "values: found"),
        ({"values": "[1]"}, "values: found"),
        ({"values": {"a": "much"}}, "values: found"),
        ({"on_refused": "ignore"}, "on_refused: found 'ignore'"),
        ({"on_missing_metrics": "None"}, "on_missing_metrics: found"),
        ({"gates": [{"value": "x"}]}, r"gates\[0\]"),
        ({"champion_alias": "default"}, "champion_alias"),
    ],
)
def test_wrong_arguments(good: TuningJob, alias: str, emulator: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        execute(evaluation(good, arguments.pop("champion_alias", alias), **arguments))
    assert asked(emulator) == []  # found before a prompt is paid for


def test_the_aliases_are_left_alone(good: TuningJob, alias: str) -> None:
    before = aliases(TUNING)
    execute(evaluation(good, alias))
    assert aliases(TUNING) == before
    assert CHAMPION not in itertools.chain(*before.values())


def test_a_thousand_questions_fill_no_log(
    good: TuningJob, bad: TuningJob, alias: str, crown: Any, emulator: str, capfd: Any
) -> None:
    """Whose answers a line is about stands in it; the rest is in the file."""
    crown(good)
    sample = upload(emulator, "gs://data/many.jsonl", classification_rows(498))
    capfd.readouterr()
    refused(bad, alias, sample_uri=sample, sample_size=498, on_missing_metrics="fail", parallel=16)
    log = capfd.readouterr().out
    lines = log.splitlines()
    assert len(lines) <= 30, log
    assert "Model in use: 498 of 498 examples answered as expected." in log
    assert "New model: 0 of 498 examples answered as expected." in log
    assert "New model: 495 more answers were not as expected. The report has them." in log
    assert sum("New model, " in line for line in lines) == 5


def test_a_refusal_starts_with_what_it_is_and_names_the_model_last(
    good: TuningJob, bad: TuningJob, alias: str, crown: Any
) -> None:
    crown(good)
    with pytest.raises(ModelRefusedError) as error:
        execute(evaluation(bad, alias))
    assert str(error.value).startswith("Refused: Exact answers on the sample")
    assert str(error.value).endswith(f"New model: {model_of(bad)}")


def _evaluate_slowly(job_name: str, alias: str, environment: dict[str, str]) -> None:
    """The evaluation of a model in a process that is killed."""
    os.environ |= environment
    given: dict[str, Any] = {"tuning": TUNING, "champion_alias": alias, "sample_uri": SLOW, "sample_size": 60}
    execute(
        EvaluateModelOperator(
            task_id="evaluate", job_name=job_name, values={}, rule=RULE, parallel=1, run_folder=KILLED, **given
        )
    )


KILLED, SLOW = "gs://bucket/runs/killed", "gs://data/slow.jsonl"


def test_a_killed_task_has_its_answers_saved(
    good: TuningJob, alias: str, emulator: str, control: Any, storage: StorageHook
) -> None:
    """Only those of the last moments are paid for again."""
    upload(emulator, SLOW, classification_rows(60))
    control("faults", method="endpoints.generateContent", delay=0.2)
    environment = {key: value for key, value in os.environ.items() if key.startswith("AIRFLOW")}
    process = multiprocessing.get_context("spawn").Process(
        target=_evaluate_slowly, args=(good.name, alias, environment)
    )
    process.start()
    wait_until(lambda: len(asked(emulator)) >= 25, 90)
    process.kill()
    process.join()
    paid = len(asked(emulator))
    saved = json.loads(storage.read_object(f"{KILLED}/answers-so-far-evaluate.json", 2**20))
    [answers] = saved["answers"].values()
    assert paid - len(answers) <= (2 + 1 + 2) / 0.2
    assert len(answers) > 0


class TestMetrics:
    METRICS: list[Any] = ["exact_match", "rouge_l_sum", {"pairwise": "text_quality"}]

    def test_scores_of_the_service_decide_and_are_kept(
        self, good: TuningJob, bad: TuningJob, alias: str, crown: Any, storage: StorageHook
    ) -> None:
        crown(bad)
        folder = "gs://bucket/runs/judged"
        gates = [{"value": "baseline.rouge_l_sum", "max": 0.9}, {"value": "sample.gain_over_base", "min": 0.1}]
        result = execute(
            evaluation(
                good,
                alias,
                run_folder=folder,
                metrics=self.METRICS,
                baseline=True,
                gates=gates,
                rule={"value": "judge.win_rate", "min_gain": 0.0},
            )
        )
        assert result["verdict"] == "better"
        assert result["baseline"] == "gemini-2.5-flash"
        values = result["comparison"]["values"]
        assert values["judge.win_rate"]["challenger"] > values["judge.win_rate"]["champion"]
        assert values["sample.rouge_l_sum"]["challenger"] == 1.0 > values["sample.rouge_l_sum"]["baseline"]
        assert result["comparison"]["win_rate"]["wins"] == SAMPLE
        row = json.loads(storage.read_object(f"{folder}/evaluation.json", 2**20))["rows"][0]
        assert set(row["answers"]) == {"champion", "challenger", "baseline"}
        assert row["choice"]["preferred"] == "new"
        assert row["choice"]["reasons"]

    def test_other_criteria_of_the_same_name_are_judged_again(
        self, good: TuningJob, bad: TuningJob, alias: str, crown: Any, emulator: str
    ) -> None:
        """The task is cleared after a change of the tuning; its run folder still has the scores."""
        crown(bad)

        def judged(criteria: str, quality: str) -> int:
            """Number of requests to the evaluation service."""
            httpx.delete(f"{emulator}/_internal/requests")
            metrics = [{"rubric": criteria}, {"pairwise": quality}]
            execute(evaluation(good, alias, run_folder="gs://bucket/runs/changed", metrics=metrics))
            log = httpx.get(f"{emulator}/_internal/requests").json()["requests"]
            return sum("evaluateInstances" in entry["path"] for entry in log)

        first = judged("Is polite.", "text_quality")
        assert first > 0
        assert judged("Is polite.", "text_quality") == 0
        assert judged("Is short.", "text_quality") == first
        assert judged("Is short.", "fluency") == first

    def test_a_first_model_is_compared_with_the_base_model(self, good: TuningJob, alias: str) -> None:
        result = execute(evaluation(good, alias, metrics=self.METRICS, baseline=True))
        assert result["verdict"] == "first"
        assert result["comparison"]["win_rate"]["wins"] == SAMPLE
        assert "The judge compares with the base model, because no model is in use." in result["comparison"]["notes"]
        alone = execute(evaluation(good, alias, metrics=self.METRICS))
        assert alone["comparison"]["win_rate"] is None

    def test_the_base_model_is_asked_where_the_tuned_model_responds(self, alias: str, emulator: str) -> None:
        """Models of generation 3 are tuned in a region, and serve only from a multi-region."""
        job = train(TUNING, epoch_count=1, base_model="gemini-3.5-flash")
        assert job.tuned_model
        assert "/locations/us/" in job.tuned_model.endpoint
        assert execute(evaluation(job, alias, baseline=True))["baseline"] == "gemini-3.5-flash"
        log = httpx.get(f"{emulator}/_internal/requests").json()["requests"]
        [place] = {entry["path"].partition("/publishers/")[0] for entry in log if "/publishers/" in entry["path"]}
        assert place.endswith("/locations/us")

    def test_a_model_that_was_tuned_twice_is_compared_with_its_base_model(self, good: TuningJob, alias: str) -> None:
        twice = train(TUNING, epoch_count=1, base_model=model_of(good))
        result = execute(evaluation(twice, alias, baseline=True))
        assert (result["verdict"], result["baseline"]) == ("first", "gemini-2.5-flash")

    def test_a_base_model_that_cannot_be_asked_is_a_note(self, good: TuningJob, alias: str, control: Any) -> None:
        control("faults", method="publishers.models.generateContent", error={"code": 404})
        result = execute(evaluation(good, alias, baseline=True))
        assert (result["verdict"], result["baseline"]) == ("first", "")
        assert any(note.startswith("Base model: no answers") for note in result["comparison"]["notes"])
