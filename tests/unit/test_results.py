"""What tasks leave for other tasks: complete, plain, and read back as it was written."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from vertex_tuning import results
from vertex_tuning.jobs.job import TunedModel, TuningJob
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.tuning_job import (
    CancelUnfinishedJobsOperator,
    GetTuningJobOperator,
    ListTuningJobsOperator,
)
from vertex_tuning.results import (
    EvaluationResult,
    FileSummary,
    JobResult,
    ModelDescription,
    PreviousResult,
    Role,
    SmokeResult,
    StepResult,
    UploadResult,
)

MODEL = ModelDescription(model="projects/1/locations/l/models/7@1", endpoint="projects/1/locations/l/endpoints/8")
LEFT: list[StepResult] = [
    UploadResult(training_uri="gs://b/t.jsonl", dataset_hash="ab", training=FileSummary(rows=3, tokens=9)),
    SmokeResult(),
    EvaluationResult(verdict="first"),
    PreviousResult(champion="m", previous=MODEL),
]


@pytest.mark.parametrize("result", LEFT, ids=lambda result: type(result).__name__)
def test_every_field_is_there_for_a_task_that_is_wired_to_it(result: StepResult) -> None:
    left = result.as_xcom()
    assert left.keys() == set(result.__struct_fields__)
    assert msgspec.convert(json.loads(json.dumps(left)), type(result)) == result


def test_a_job_is_left_with_every_field_and_the_names_of_its_model() -> None:
    running, done = TuningJob(name="j"), TuningJob(name="j", tuned_model=TunedModel(model="m", endpoint="e"))
    assert JobResult.of(running).as_xcom().keys() == set(JobResult.__struct_fields__)
    left = [JobResult.of(job).as_xcom() for job in (running, done)]
    assert [(job["model"], job["endpoint"]) for job in left] == [(None, None), ("m", "e")]
    assert [TuningJob.parse(job) for job in left] == [running, done]
    assert [JobResult.parse(job).name for job in left] == ["j", "j"]


def test_each_role_has_names_of_its_own() -> None:
    assert len({role.label for role in Role}) == len({role.task_id for role in Role}) == len(Role)
    kinds = [kind for kind in vars(results).values() if isinstance(kind, type) and issubclass(kind, StepResult)]
    files = [kind.file_name for kind in kinds if kind.file_name]
    assert {"metrics.json", "smoke-test.json", "evaluation.json"} == set(files)


def test_a_result_with_fields_is_wired_by_them_and_a_list_is_not() -> None:
    arguments: dict[str, Any] = {"training_data": "t.jsonl", "bucket": "b"}
    assert UploadDatasetOperator(task_id="u", **arguments).multiple_outputs
    assert GetTuningJobOperator(task_id="g", job_name="j").multiple_outputs
    assert not GetTuningJobOperator(task_id="h", job_name="j", multiple_outputs=False).multiple_outputs
    assert not ListTuningJobsOperator(task_id="l").multiple_outputs
    assert not CancelUnfinishedJobsOperator(task_id="c", created_by="create").multiple_outputs
