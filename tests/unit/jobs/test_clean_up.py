"""Which models and datasets of a tuning may be deleted, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.jobs.clean_up import (
    KeepRules,
    ModelsOfTuning,
    Retention,
    ServingEndpoint,
    retain_datasets,
    retain_models,
)
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL, TunedModel, TuningJob, TuningMethodSpec
from vertex_tuning.registry.aliases import JOB_LABEL, TUNING_LABEL, ModelVersion

NOW = datetime(2026, 11, 28, tzinfo=UTC)
OWN = {TUNING_LABEL: "tickets", DEPLOYMENT_LABEL: "here"}
PARENT = "projects/1/locations/us-central1"
RULES = KeepRules(models=1, days=90)


def version(name: str = "old@1", *aliases: str, age: float = 200, **fields: Any) -> ModelVersion:
    """A version of this tuning that nothing keeps, unless the arguments say otherwise."""
    labels = {**OWN, JOB_LABEL: name.partition("@")[0], **fields.pop("labels", {})}
    made = NOW - timedelta(days=age)
    return ModelVersion(
        f"{PARENT}/models/{name}",
        made,
        aliases=frozenset({"default", *filter(None, aliases)}),
        labels={key: value for key, value in labels.items() if value},
        endpoints=(f"{PARENT}/endpoints/{name.partition('@')[0]}",),
        **{"updated": made, **fields},
    )


def endpoint(deployed: str = "old@1", **labels: str) -> ServingEndpoint:
    return ServingEndpoint(f"{PARENT}/endpoints/e", {**OWN, **labels}, {"7": f"{PARENT}/models/{deployed}"})


def judge(
    *versions: ModelVersion,
    rules: KeepRules = RULES,
    endpoints: Mapping[str, list[ServingEndpoint]] | None = None,
    needed: Mapping[str, str] | None = None,
) -> dict[str, Retention]:
    judged = retain_models(ModelsOfTuning(versions, OWN, endpoints or {}, needed or {}), rules, NOW)
    return {each.name.rpartition("/")[2]: each for each in judged}


OLD = f"{PARENT}/models/old@1"
NEWEST = version("newest@1", age=10)
FOREIGN = "is deployed to {}, which lacks the labels of this tuning and installation"


def test_a_model_that_nothing_needs_is_deleted() -> None:
    judged = judge(version(), NEWEST)
    assert str(judged["old@1"]) == (f"delete {OLD}: has no alias and no use, and was last changed 200 days ago")
    assert judged["newest@1"].kept


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        (version("old@1", "champion"), "has the alias champion"),
        (version("old@1", "live"), "has the alias live"),
        (version("old@1", "previous"), "has the alias previous"),
        (version("old@1", "outgoing"), "has the alias outgoing"),
        (version("old@1", "rolled-back"), "has the alias rolled-back"),
        (version("old@1", "b-of-a-person", "a"), "has the alias a, b-of-a-person"),
        (version(age=89), "was made or changed 89 days ago, which is within 90 days"),
        (version(updated=NOW - timedelta(days=3)), "was made or changed 3 days ago, which is within 90 days"),
        (version(labels={TUNING_LABEL: "other"}), "lacks the labels of this tuning and installation"),
        (version(labels={TUNING_LABEL: ""}), "lacks the labels of this tuning and installation"),
        (version(labels={DEPLOYMENT_LABEL: "there"}), "lacks the labels of this tuning and installation"),
        (version(labels={DEPLOYMENT_LABEL: ""}), "lacks the labels of this tuning and installation"),
        (version(labels={JOB_LABEL: ""}), "was not made by a tuning job"),
    ],
)
def test_a_model_is_kept_for_what_the_registry_says(old: ModelVersion, reason: str) -> None:
    assert judge(old, NEWEST)["old@1"] == Retention(OLD, kept=True, reason=reason)


@pytest.mark.parametrize(
    ("serving", "reason"),
    [
        (endpoint(), ""),
        (
            endpoint(**{TUNING_LABEL: "other"}),
            "is deployed to {}, which lacks the labels of this tuning and installation",
        ),
        (
            endpoint(**{DEPLOYMENT_LABEL: "x"}),
            "is deployed to {}, which lacks the labels of this tuning and installation",
        ),
        (endpoint("other@1"), "shares {} with projects/1/locations/us-central1/models/other@1"),
        (endpoint("old@2"), "shares {} with projects/1/locations/us-central1/models/old@2"),
        (ServingEndpoint(f"{PARENT}/endpoints/e", OWN, {}), ""),
    ],
)
def test_a_model_is_kept_with_an_endpoint_that_may_not_be_deleted(serving: ServingEndpoint, reason: str) -> None:
    judged = judge(version(), NEWEST, endpoints={OLD: [serving]})["old@1"]
    assert judged.kept == bool(reason)
    assert not reason or judged.reason == reason.format(serving.name)


def test_a_model_is_kept_that_a_job_or_a_run_needs() -> None:
    judged = judge(version(), NEWEST, needed={OLD: "belongs to the run r of d, which has not ended"})["old@1"]
    assert judged == Retention(OLD, kept=True, reason="belongs to the run r of d, which has not ended")


def test_the_newest_models_are_kept_whatever_their_age() -> None:
    judged = judge(*(version(f"m{age}@1", age=age) for age in (100, 200, 300, 400)), rules=KeepRules(2, 30))
    assert {name: each.kept for name, each in judged.items()} == {
        "m400@1": False, "m300@1": False, "m200@1": True, "m100@1": True
    }  # fmt: skip


def test_models_of_others_do_not_count_among_the_newest() -> None:
    other = version("other@1", age=50, labels={DEPLOYMENT_LABEL: "there"})
    assert not judge(version(), version("mine@1", age=120), other)["old@1"].kept
    assert judge(version(), version("mine@1", age=120), other)["mine@1"].kept


def test_a_default_version_stays_while_its_model_has_others() -> None:
    first, second = version("m@1", age=300), version("m@2", age=200)
    second = msgspec.structs.replace(second, aliases=frozenset({"champion"}))
    judged = judge(first, second, NEWEST)
    assert judged["m@1"].reason == "is the default version of its Model, of which other versions are kept"
    assert not judge(first, NEWEST)["m@1"].kept


def test_a_deletion_that_began_goes_on_even_if_it_changed_the_model() -> None:
    begun = msgspec.structs.replace(version(updated=NOW), endpoints=())
    assert not judge(begun, NEWEST)["old@1"].kept


VERSIONS = st.lists(
    st.builds(
        version,
        st.builds("{}@{}".format, st.sampled_from("abcd"), st.integers(1, 3)),
        st.sampled_from(["", "champion", "previous", "rolled-back", "mine"]),
        age=st.floats(0, 1000),
        labels=st.sampled_from([{}, {}, {TUNING_LABEL: "other"}, {DEPLOYMENT_LABEL: "there"}]),
    ),
    max_size=10,
    unique_by=lambda each: each.name,
)


@given(versions=VERSIONS, models=st.integers(1, 4), days=st.floats(1, 400))
def test_nothing_that_may_be_needed_is_deleted(versions: list[ModelVersion], models: int, days: float) -> None:
    rules = KeepRules(models, days)
    judged = judge(*versions, rules=rules)
    assert len(judged) == len(versions)
    for each in versions:
        if judged[each.name.rpartition("/")[2]].kept:
            continue
        assert each.aliases <= {"default"}
        assert NOW - each.created >= timedelta(days=days)
        assert OWN.items() <= each.labels.items()
        newer = [other for other in versions if OWN.items() <= other.labels.items() and other.age_rank > each.age_rank]
        assert len(newer) >= models
    # The next night, with the same clock, nothing more is deleted.
    left = [each for each in versions if judged[each.name.rpartition("/")[2]].kept]
    assert all(each.kept for each in judge(*left, rules=rules).values())


# Datasets

FOLDER = f"gs://bucket/datasets/{'0a' * 32}"


def job(name: str = "1", *, age: float = 200, model: str = "", folder: str = FOLDER, **fields: Any) -> TuningJob:
    return TuningJob(
        **{
            "name": f"{PARENT}/tuningJobs/{name}",
            "state": "JOB_STATE_SUCCEEDED",
            "create_time": (NOW - timedelta(days=age)).isoformat(),
            "labels": OWN,
            "tuned_model": TunedModel(model=f"{PARENT}/models/{model}") if model else None,
            "supervised_tuning_spec": TuningMethodSpec(training_dataset_uri=f"{folder}/training.jsonl"),
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("jobs", "reason"),
    [
        ([job()], ""),
        ([job(model="gone@1")], ""),
        ([job(state="JOB_STATE_FAILED"), job("2", state="JOB_STATE_CANCELLED")], ""),
        ([job(), job("2", model="kept@1")], "models/kept@1 was made from it"),
        ([job(), job("2", state="JOB_STATE_RUNNING")], "tuningJobs/2 has not ended"),
        ([job(), job("2", age=80)], "tuningJobs/2 is not older than 90 days"),
        ([job(), job("2", labels={TUNING_LABEL: "other"})], "2 of another tuning or installation was made from it"),
        (
            [job(), job("2", labels=OWN | {DEPLOYMENT_LABEL: "there"})],
            "2 of another tuning or installation was made from",
        ),
        ([job(), job("2", create_time=None)], "tuningJobs/2 is not older than 90 days"),
    ],
)
def test_a_dataset_is_kept_while_a_job_or_model_needs_it(jobs: list[TuningJob], reason: str) -> None:
    # The service names a project by its number, and people name it by its id.
    kept = {"projects/by-id/locations/us-central1/models/kept@1"}
    [judged] = retain_datasets(jobs, kept, OWN, RULES, NOW)
    assert (judged.name, judged.kept) == (FOLDER, bool(reason))
    assert reason in judged.reason


def test_only_data_in_folders_of_datasets_is_judged() -> None:
    jobs = [
        job(folder="gs://bucket/exports"),
        job(folder="gs://bucket/datasets/mine"),
        job(labels={}),
        job(supervised_tuning_spec=None),
    ]
    assert retain_datasets(jobs, set(), OWN, RULES, NOW) == []


def test_data_of_a_split_counts_where_only_the_validation_data_was_uploaded() -> None:
    place = f"{FOLDER}-{'1' * 16}"
    method = TuningMethodSpec("gs://mine/training.jsonl", f"{place}/validation.jsonl")
    [judged] = retain_datasets([job(supervised_tuning_spec=method)], set(), OWN, RULES, NOW)
    assert judged == Retention(place, kept=False, reason="no kept model was made from it")
