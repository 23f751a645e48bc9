"""Housekeeping against the local Google Cloud, by the real clients."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from vertex_tuning.datasets.manifest import MANIFEST
from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import ChampionError, ConfigurationError, VertexUnavailableError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_deletion import ModelDeletionHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.jobs.clean_up import ServingEndpoint
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL, TuningJob
from vertex_tuning.jobs.spec import Origin
from vertex_tuning.operators import housekeeping
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.housekeeping import HousekeepingOperator
from vertex_tuning.registry.aliases import CHAMPION, PREVIOUS, ROLLED_BACK, TUNING_LABEL
from vertex_tuning.registry.promotion import ModelAliases

from tests.support.emulator import classification_rows, upload
from tests.support.google_cloud import LOCATION, TRAINING, spec
from tests.support.lineage import aliases, models, train
from tests.support.scripted_jobs import RUNS, ended
from tests.support.tasks import TaskContext, execute

_numbers = itertools.count(1)
DELETIONS = ("endpoints.undeployModel", "endpoints.delete", "models.delete", "models.deleteVersion")


@pytest.fixture
def tuning() -> str:
    return f"housekeeping_{next(_numbers)}"


@pytest.fixture
def registry() -> RegistryHook:
    return RegistryHook(GoogleConnection(location=LOCATION))


@pytest.fixture(autouse=True)
def half_a_year_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "utc_now", lambda: datetime.now(UTC) + timedelta(days=180))


class NightlyContext(TaskContext):
    """A context that also knows which runs have not ended.

    :param active: ids of these runs, by the id of their DAG
    """

    def __init__(self, active: Mapping[str, list[str]] | None = None) -> None:
        super().__init__()
        self.active = active or {}
        self["ti"].get_dr_count = self.count

    def count(self, dag_id: str, run_ids: list[str] | None = None, states: list[str] | None = None) -> int:
        assert states == ["queued", "running"]
        return len([run for run in self.active.get(dag_id, []) if run_ids is None or run in run_ids])


def clean_up(tuning: str, active: Mapping[str, list[str]] | None = None, **arguments: Any) -> dict[str, Any]:
    given = {"keep_models": 1, "delete": True, "bucket": "bucket", "location": LOCATION, **arguments}
    result = execute(HousekeepingOperator(task_id="clean", tuning=tuning, **given), NightlyContext(active))
    assert isinstance(result, dict)
    return result


def names(registry: RegistryHook, tuning: str) -> set[str]:
    return {version.name for version in registry.versions_of(tuning)}


def endpoints_of(emulator: str, *jobs: TuningJob) -> set[str]:
    """The endpoints that exist, of those that jobs made."""
    tuned = [job.tuned_model for job in jobs if job.tuned_model]
    made = {name for model in tuned for name in (model.endpoint, *(point.endpoint for point in model.checkpoints))}
    return {name for name in made if name and httpx.get(f"{emulator}/v1/{name}").status_code == 200}


def requests(emulator: str) -> list[tuple[str, str]]:
    """The deletions so far: method, and kind of the resource."""
    listed = httpx.get(f"{emulator}/_internal/requests").json()["requests"]
    return [each for each in listed if each.get("method") in DELETIONS]


def test_a_dry_run_names_what_it_would_delete_and_deletes_nothing(
    registry: RegistryHook, control: Any, tuning: str, google_cloud: str, capfd: Any
) -> None:
    old, new = models(control, tuning, 2)
    result = clean_up(tuning, delete=False)
    assert result["dry_run"] is True
    assert result["models"] == [old]
    assert result["kept"] == {new: "is one of the newest 1"}
    assert len(result["endpoints"]) >= 1
    assert names(registry, tuning) == {old, new}
    assert requests(google_cloud) == []
    assert f"Would delete {old} with" in capfd.readouterr().out


def test_dry_is_the_default() -> None:
    assert HousekeepingOperator(task_id="clean", tuning="t", bucket="b").delete is False


def test_old_models_go_with_the_endpoints_of_all_their_checkpoints(
    registry: RegistryHook, tuning: str, google_cloud: str
) -> None:
    jobs = [train(tuning, epoch_count=2) for _ in range(3)]
    assert len(endpoints_of(google_cloud, jobs[0])) == 2
    result = clean_up(tuning)
    assert names(registry, tuning) == {jobs[-1].tuned_model.model}  # type: ignore[union-attr]
    assert endpoints_of(google_cloud, *jobs[:2]) == set()
    assert len(endpoints_of(google_cloud, jobs[2])) == 2
    assert len(result["models"]) == 2
    assert len(result["endpoints"]) == 4
    assert clean_up(tuning)["models"] == []


def test_models_in_use_before_it_and_rolled_back_and_of_others_stay(
    registry: RegistryHook, control: Any, tuning: str
) -> None:
    first, second, third, tagged, plain, newest = models(control, tuning, 6)
    promoted = ModelAliases(registry, tuning)
    for model in (first, second, third):
        promoted.promote(model)
    promoted.roll_back(second)
    registry.merge_aliases(tagged, ["of-a-person"])
    before = aliases(tuning)
    assert {CHAMPION, PREVIOUS, ROLLED_BACK} >= {name for names in before.values() for name in names} - {"of-a-person"}
    result = clean_up(tuning)
    unmarked = {first, plain} - set(before)
    assert set(result["models"]) == unmarked
    assert names(registry, tuning) == {first, second, third, tagged, plain, newest} - unmarked
    assert aliases(tuning) == before


def test_models_of_other_tunings_and_installations_are_not_touched(
    registry: RegistryHook, control: Any, tuning: str, hook: VertexTuningHook, google_cloud: str
) -> None:
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[])
    foreign = ended(hook, hook.create_tuning_job(spec(), {TUNING_LABEL: tuning, DEPLOYMENT_LABEL: "there"}).name)
    unlabelled = ended(hook, hook.create_tuning_job(spec(), {TUNING_LABEL: tuning}).name)
    other = models(control, f"{tuning}_x", 2)
    old, _ = models(control, tuning, 2)
    assert clean_up(tuning)["models"] == [old]
    assert names(registry, f"{tuning}_x") == set(other)
    for job in (foreign, unlabelled):
        assert job.tuned_model
        assert registry.get(job.tuned_model.model)
        assert endpoints_of(google_cloud, job)


def test_old_versions_of_one_model_go_and_its_default_stays(registry: RegistryHook, control: Any, tuning: str) -> None:
    versions = models(control, tuning, 4, versions=True)
    default = next(each.name for each in registry.versions_of(tuning) if "default" in each.aliases)
    result = clean_up(tuning)
    assert names(registry, tuning) == {default, versions[-1]}
    assert set(result["models"]) == set(versions) - {default, versions[-1]}


def test_all_versions_of_a_model_go_with_the_model(
    registry: RegistryHook, control: Any, tuning: str, google_cloud: str
) -> None:
    versions = models(control, tuning, 3, versions=True)
    [newest] = models(control, tuning, 1)
    clean_up(tuning)
    assert names(registry, tuning) == {newest}
    assert httpx.get(f"{google_cloud}/v1/{versions[0].partition('@')[0]}").status_code == 404


@pytest.mark.parametrize("method", DELETIONS[:3])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deletion_that_stopped_anywhere_is_finished_by_the_next_attempt(
    registry: RegistryHook, control: Any, tuning: str, google_cloud: str, method: str, when: str
) -> None:
    jobs = [train(tuning, epoch_count=2) for _ in range(2)]
    fault: dict[str, Any] = {"error": {"code": 400, "message": "killed"}} if when == "before" else {"drop": "after"}
    control("faults", method=method, count=1, **fault)
    with contextlib.suppress(VertexUnavailableError):
        clean_up(tuning)
    clean_up(tuning)
    assert names(registry, tuning) == {jobs[1].tuned_model.model}  # type: ignore[union-attr]
    assert endpoints_of(google_cloud, jobs[0]) == set()


def test_a_model_that_changes_while_others_are_deleted_stays(
    registry: RegistryHook, control: Any, tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, older, newest = models(control, tuning, 3)
    judge = HousekeepingOperator._delete_models

    def promote_first(operator: HousekeepingOperator, *arguments: Any) -> Any:
        registry.merge_aliases(old, [CHAMPION])
        return judge(operator, *arguments)

    monkeypatch.setattr(HousekeepingOperator, "_delete_models", promote_first)
    assert clean_up(tuning)["models"] == [older]
    assert names(registry, tuning) == {old, newest}


def test_nothing_is_deleted_while_it_is_unclear_which_model_is_in_use(
    registry: RegistryHook, control: Any, tuning: str
) -> None:
    made = models(control, tuning, 3)
    for model in made[:2]:
        registry.merge_aliases(model, [CHAMPION])
    with pytest.raises(ChampionError, match="not clear which model is in use"):
        clean_up(tuning)
    assert names(registry, tuning) == set(made)


def test_an_endpoint_of_somebody_else_keeps_its_model(
    control: Any, tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ModelDeletionHook.find_endpoint

    def find_foreign(hook: ModelDeletionHook, name: str) -> ServingEndpoint | None:
        found = read(hook, name)
        return found and msgspec.structs.replace(found, labels={})

    monkeypatch.setattr(ModelDeletionHook, "find_endpoint", find_foreign)
    old, _ = models(control, tuning, 2)
    result = clean_up(tuning)
    assert result["models"] == []
    assert "which lacks the labels of this tuning and installation" in result["kept"][old]


def test_a_model_stays_while_its_run_has_not_ended(registry: RegistryHook, control: Any, tuning: str) -> None:
    hook = VertexTuningHook(GoogleConnection(location=LOCATION))
    origin = Origin(deployment_id(), "retrain", "waits for approval", "create", -1)
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[])
    labels = {**origin.labels, TUNING_LABEL: tuning}
    job = hook.create_tuning_job(spec(description=origin.describe(None), labels=labels), labels)
    waiting = ended(hook, job.name)
    assert waiting.tuned_model
    models(control, tuning, 1)
    result = clean_up(tuning, {"retrain": ["waits for approval"]})
    assert result["models"] == []
    assert result["kept"][waiting.tuned_model.model] == (
        "belongs to the run waits for approval of retrain, which has not ended"
    )
    assert clean_up(tuning, {"retrain": ["another"]})["models"] == [waiting.tuned_model.model]


def test_a_model_stays_that_a_tuning_or_a_running_job_starts_from(
    registry: RegistryHook, control: Any, tuning: str, hook: VertexTuningHook
) -> None:
    trained = train(tuning, epoch_count=1)
    assert trained.tuned_model
    base = trained.tuned_model.model
    models(control, tuning, 1)
    assert "is the base model of a tuning" in clean_up(tuning, base_models=[base])["kept"][base]
    control("lifecycle", labels={"runs": "on"}, **RUNS)
    running = hook.create_tuning_job(spec(base_model=base), {"runs": "on"})
    assert clean_up(tuning)["kept"][base] == f"is the base model of {running.name}, which has not ended"
    hook.cancel_tuning_job(running.name)


# Datasets


def upload_dataset(source: str) -> dict[str, Any]:
    task = UploadDatasetOperator(task_id="upload", training_data=source, bucket="bucket", location=LOCATION)
    uploaded: dict[str, Any] = execute(task)
    return uploaded


def made_from(tuning: str, google_cloud: str, rows: int, **arguments: Any) -> tuple[TuningJob, dict[str, Any]]:
    """A model that was made from a new dataset in the bucket."""
    source = f"gs://data/{tuning}-{rows}.jsonl"
    upload(google_cloud, source, [{"prompt": f"message {each}", "response": "late"} for each in range(rows)])
    uploaded = execute(
        UploadDatasetOperator(task_id="upload", training_data=source, bucket="bucket", location=LOCATION)
    )
    return train(tuning, training_uri=uploaded["training_uri"], validation_uri=None, **arguments), uploaded


def files(storage: StorageHook, folder: str) -> list[str]:
    return [each.uri.removeprefix(f"{folder}/") for each in storage.list_objects(f"{folder}/*")]


def test_a_dataset_goes_with_the_last_model_that_was_made_from_it(
    tuning: str, google_cloud: str, storage: StorageHook, control: Any
) -> None:
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[])
    _, old = made_from(tuning, google_cloud, 30)
    _, new = made_from(tuning, google_cloud, 31)
    report = storage.write_object(f"{old['run_folder']}/report.html", b"<html>", "text/html")
    assert clean_up(tuning, delete=False)["datasets"] == [old["folder"]]
    assert MANIFEST in files(storage, old["folder"])
    assert clean_up(tuning)["datasets"] == [old["folder"]]
    assert files(storage, old["folder"]) == []
    assert storage.read_object(report, 100) == b"<html>"  # the evidence of a decision stays
    assert MANIFEST in files(storage, new["folder"])
    assert clean_up(tuning)["datasets"] == []


def test_a_dataset_stays_that_another_tuning_was_made_from(
    tuning: str, google_cloud: str, storage: StorageHook, control: Any, hook: VertexTuningHook
) -> None:
    control("lifecycle", labels={}, script=[])
    _, old = made_from(tuning, google_cloud, 32)
    made_from(tuning, google_cloud, 33)
    ended(hook, hook.create_tuning_job(spec(training_uri=old["training_uri"], validation_uri=None), {}).name)
    result = clean_up(tuning)
    assert result["datasets"] == []
    assert "of another tuning or installation was made from it" in result["kept"][old["folder"]]
    assert MANIFEST in files(storage, old["folder"])


def test_a_dataset_stays_whose_model_the_list_does_not_show(
    tuning: str, google_cloud: str, storage: StorageHook, control: Any
) -> None:
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[])
    _, old = made_from(tuning, google_cloud, 37)
    control("faults", method="models.list", staleList=3600.0)
    result = clean_up(tuning)
    assert (result["models"], result["datasets"]) == ([], [])
    assert "was made from it" in result["kept"][old["folder"]]
    assert MANIFEST in files(storage, old["folder"])


def test_a_dataset_stays_while_a_run_may_be_about_to_use_it(
    tuning: str, google_cloud: str, storage: StorageHook, control: Any, hook: VertexTuningHook
) -> None:
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[])
    _, old = made_from(tuning, google_cloud, 34)
    origin = Origin(deployment_id(), f"retrain_{tuning}", "earlier", "create", -1)
    labels = {**origin.labels, TUNING_LABEL: tuning}
    job = spec(training_uri=TRAINING, description=origin.describe(None), labels=labels)
    ended(hook, hook.create_tuning_job(job, labels).name)
    result = clean_up(tuning, {f"retrain_{tuning}": ["today"]})
    assert result["datasets"] == []
    assert result["kept"][old["folder"]] == f"may be used by a run of retrain_{tuning}, which has not ended"
    assert clean_up(tuning)["datasets"] == [old["folder"]]


def test_a_dataset_whose_deletion_stopped_is_deleted_by_the_next_attempt(
    tuning: str, google_cloud: str, storage: StorageHook, control: Any
) -> None:
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[])
    _, old = made_from(tuning, google_cloud, 35)
    made_from(tuning, google_cloud, 36)
    manifest = storage.find_object(f"{old['folder']}/{MANIFEST}")
    assert manifest
    storage.delete_object(manifest)
    storage.delete_object(manifest)  # it is no error that it is gone
    assert clean_up(tuning)["datasets"] == [old["folder"]]
    assert files(storage, old["folder"]) == []


def test_data_that_was_used_where_it_is_stays(
    tuning: str, google_cloud: str, storage: StorageHook, control: Any
) -> None:
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[])
    source = f"gs://data/{tuning}.jsonl"
    upload(google_cloud, source, classification_rows(30))
    uploaded = execute(
        UploadDatasetOperator(task_id="upload", training_data=source, bucket="bucket", location=LOCATION)
    )
    assert uploaded["training_uri"] == source
    train(tuning, training_uri=source, validation_uri=None)
    models(control, tuning, 1)
    assert clean_up(tuning)["datasets"] == []
    assert storage.find_object(source)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep_models": 0}, "keep_models: found 0, expected 1 or more."),
        ({"keep_days": 0.5}, "keep_days: found 0.5, expected 1 or more."),
        ({"delete": "perhaps"}, "delete: found 'perhaps'"),
        ({"tuning": ""}, "tuning: found nothing"),
    ],
)
def test_a_wrong_argument_deletes_nothing(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        clean_up(**{"tuning": "t", **arguments})
    assert message in str(error.value)
