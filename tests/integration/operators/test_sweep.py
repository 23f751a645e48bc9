"""Selecting and deleting candidates of a sweep, against the local Google Cloud."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from vertex_tuning.exceptions import ConfigurationError, VertexUnavailableError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.model_deletion import ModelDeletionHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.jobs.job import CANDIDATE_LABEL, TuningJob
from vertex_tuning.operators.housekeeping import DeleteCandidatesOperator
from vertex_tuning.operators.sweep import NO_METRICS, PlanCandidatesOperator, SelectCandidateOperator
from vertex_tuning.registry.aliases import TUNING_LABEL
from vertex_tuning.results import CandidateResult

from tests.support.google_cloud import LOCATION
from tests.support.lineage import models, train
from tests.support.scripted_jobs import SUCCEEDS
from tests.support.tasks import TaskContext, create, execute

SELECT_BY = "eval_total_loss.last"
_numbers = itertools.count(1)


@pytest.fixture
def tuning() -> str:
    return f"candidates_{next(_numbers)}"


@pytest.fixture
def registry() -> RegistryHook:
    return RegistryHook(GoogleConnection(location=LOCATION))


class SweepContext(TaskContext):
    """A context that knows the states and the XComs of mapped tasks."""

    def __init__(self, states: Mapping[str, str | None], xcoms: Mapping[tuple[str, int], Any]) -> None:
        super().__init__()
        self["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: states}
        self["ti"].xcom_pull = lambda task_ids, key, map_indexes: (
            xcoms.get((task_ids, map_indexes)) if key == "return_value" else None
        )


def select(created: Sequence[str], waited: Sequence[str]) -> dict[str, Any]:
    """Select among candidates by what their tasks left: the names of jobs, and metrics that get better."""
    metrics = [msgspec.structs.replace(NO_METRICS, values={SELECT_BY: 1 / number}) for number in (1, 2)]
    left: dict[str, Sequence[Any]] = {
        "create_tuning_job": [{"name": name} for name in created],
        "wait_for_tuning_job": [{"name": name} for name in waited],
        "collect_metrics": [each.as_xcom() for each in metrics],
    }
    states = {f"{task_id}_{index}": "success" for task_id in left for index in range(2)}
    xcoms = {(task_id, index): value for task_id, values in left.items() for index, value in enumerate(values)}
    operator = SelectCandidateOperator(task_id="select", candidates=[{"adapter_size": 4}] * 2, select_by=SELECT_BY)
    result: dict[str, Any] = execute(operator, SweepContext(states, xcoms))
    return result


def delete(tuning: str, candidates: Sequence[CandidateResult], selected: int | None = 0) -> Any:
    found = msgspec.to_builtins(list(candidates))
    operator = DeleteCandidatesOperator(
        task_id="delete", tuning=tuning, candidates=found, selected=selected, location=LOCATION
    )
    return execute(operator)


def succeeded(*jobs: TuningJob) -> list[CandidateResult]:
    return [
        CandidateResult(index=index, settings={}, state="succeeded", value=1.0, job_name=job.name)
        for index, job in enumerate(jobs)
    ]


def model_of(job: TuningJob) -> str:
    assert job.tuned_model
    assert job.tuned_model.model
    return job.tuned_model.model


def names(registry: RegistryHook, tuning: str) -> set[str]:
    return {version.name for version in registry.versions_of(tuning)}


def test_the_job_of_a_candidate_is_the_one_that_replaced_a_failed_one() -> None:
    found = select(["jobs/first", "jobs/failed"], ["jobs/first", "jobs/second"])
    assert found["selected"] == 1
    assert [candidate["job_name"] for candidate in found["candidates"]] == ["jobs/first", "jobs/second"]


@pytest.mark.parametrize("epochs", [[], "[]"])
def test_an_empty_list_is_named(epochs: Any) -> None:
    with pytest.raises(ConfigurationError, match="epoch_count: found"):
        execute(PlanCandidatesOperator(task_id="plan", epoch_count=epochs))


def test_a_candidate_that_was_marked_by_hand_stops_no_deletion(registry: RegistryHook, tuning: str) -> None:
    best, other = (train(tuning, epoch_count=epochs) for epochs in (1, 2))
    marked = CandidateResult(index=1, settings={}, state="succeeded")
    assert delete(tuning, [*succeeded(best), marked, msgspec.structs.replace(succeeded(other)[0], index=2)]) == [
        model_of(other)
    ]
    assert names(registry, tuning) == {model_of(best)}


def test_one_candidate_that_cannot_be_deleted_stops_no_other(
    registry: RegistryHook, tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, stuck, other = (train(tuning, epoch_count=epochs) for epochs in (1, 2, 3))
    really = ModelDeletionHook.delete_model

    def refuse(self: ModelDeletionHook, name: str) -> None:
        if name == model_of(stuck).partition("@")[0]:
            raise VertexUnavailableError("Not just now.")
        really(self, name)

    monkeypatch.setattr(ModelDeletionHook, "delete_model", refuse)
    with pytest.raises(VertexUnavailableError, match="Not just now"):
        delete(tuning, succeeded(best, stuck, other))
    assert names(registry, tuning) == {model_of(best), model_of(stuck)}


def test_nothing_is_deleted_if_the_selected_model_is_gone(registry: RegistryHook, tuning: str) -> None:
    """Another value may select a candidate whose model an earlier end of the run has deleted."""
    first, second = (train(tuning, epoch_count=epochs) for epochs in (1, 2))
    assert delete(tuning, succeeded(first, second)) == [model_of(second)]
    with pytest.raises(AirflowSkipException, match="does not exist"):
        delete(tuning, succeeded(first, second), selected=1)
    assert names(registry, tuning) == {model_of(first)}


def test_a_clear_with_other_lists_pays_for_no_candidate_again(tuning: str, control: Any) -> None:
    """A new first value moves the other candidates to other map indices."""
    run_id = uuid4().hex
    for name in (tuning, f"{tuning}_other"):
        control("lifecycle", labels={TUNING_LABEL: name}, **SUCCEEDS)

    def make(*values: int, name: str = tuning) -> list[str]:
        made = []
        for index, epochs in enumerate(values):
            labels = {TUNING_LABEL: name, CANDIDATE_LABEL: str(index + 1)}
            waiting = {"wait_for_completion": True, "deferrable": False, "poll_interval": 0.05}
            context = TaskContext(run_id, map_index=index)
            context["ti"].task_id = name
            made.append(execute(create(labels=labels, epoch_count=epochs, **waiting), context)["name"])
        return made

    two, three = make(2, 3)
    one, *others = make(1, 2, 3)
    assert others == [two, three]
    assert one not in others
    assert not {two, three} & set(make(2, 3, name=f"{tuning}_other"))


def test_the_default_version_of_a_model_with_other_versions_is_kept(
    registry: RegistryHook, tuning: str, control: Any
) -> None:
    """The service deletes it only with its Model. Candidates that tune a model further are versions of that model."""
    base, default, best = models(control, tuning, 3, versions=True)
    registry.merge_aliases(default, ["default"])
    assert {version.name for version in registry.versions_of("", base) if "default" in version.aliases} == {default}
    jobs = [registry.job_of(registry.get(name)) for name in (best, default)]
    assert delete(tuning, succeeded(*filter(None, jobs))) == []
    assert names(registry, tuning) == {base, default, best}
