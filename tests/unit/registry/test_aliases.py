"""Who is champion, and what has to be done so that exactly one is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from vertex_tuning.exceptions import ConfigurationError, VertexUnavailableError
from vertex_tuning.registry.aliases import (
    CHAMPION,
    OUTGOING,
    PREVIOUS,
    ROLLED_BACK,
    ModelVersion,
    champion_of,
    check_alias,
    doubt,
    previous_of,
    settlement,
)

PLACE = "projects/1/locations/us-central1"


def version(model: str, day: int, *aliases: str) -> ModelVersion:
    """:param model: `ID@VERSION`"""
    created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return ModelVersion(f"{PLACE}/models/{model}", created, frozenset(aliases))


def ids(changes: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    return [(name.rpartition("/")[2], aliases) for name, aliases in changes.items()]


OLD = version("a@1", 1, CHAMPION)
NEW = version("b@1", 2, CHAMPION)


def test_a_model_as_the_service_answers_it() -> None:
    answer = {
        "name": f"{PLACE}/models/7",
        "versionId": "2",
        "versionAliases": ["default", "champion"],
        "versionCreateTime": "2026-11-22T10:00:00.123456789Z",
        "labels": {"google-vertex-llm-tuning-job-id": "5"},
        "deployedModels": [{"endpoint": f"{PLACE}/endpoints/9", "deployedModelId": "1"}],
    }
    found = ModelVersion.parse(answer)
    assert found == ModelVersion.parse({**answer, "name": f"{PLACE}/models/7@2"})
    assert (found.name, found.model) == (f"{PLACE}/models/7@2", f"{PLACE}/models/7")
    assert found.created == datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
    assert found.job_name == f"{PLACE}/tuningJobs/5"
    assert found.endpoints == (f"{PLACE}/endpoints/9",)
    bare = ModelVersion.parse(
        {"name": f"{PLACE}/models/7", "versionId": "1", "versionCreateTime": "2026-11-22T10:00:00Z"}
    )
    assert (bare.aliases, bare.job_name, bare.endpoints) == (frozenset(), None, ())


@pytest.mark.parametrize(
    "changed",
    [
        {"name": None},
        {"name": ""},
        {"name": 7},
        {"name": "models/7"},
        {"name": f"{PLACE}/endpoints/7"},
        {"versionId": None},
        {"versionId": ""},
        {"versionId": 2},
        {"versionCreateTime": None},
        {"versionCreateTime": ""},
        {"versionCreateTime": "yesterday"},
        {"versionCreateTime": "0001-01-01T00:00:00+05:00"},
        {"versionCreateTime": "9999-12-31T23:59:59-05:00"},
        {"versionAliases": "champion"},
        {"labels": ["a"]},
        {"deployedModels": [{"deployedModelId": "1"}]},
    ],
    ids=str,
)
def test_an_answer_without_name_version_or_date_is_an_error_that_shows_it(changed: dict[str, Any]) -> None:
    whole = {"name": f"{PLACE}/models/7", "versionId": "2", "versionCreateTime": "2026-11-22T10:00:00Z"}
    answer = {key: value for key, value in {**whole, **changed}.items() if value is not None}
    with pytest.raises(VertexUnavailableError, match=r"expected a model with name, versionId and versionCreateTime"):
        ModelVersion.parse(answer)
    assert ModelVersion.parse(whole).name == f"{PLACE}/models/7@2"


def test_a_date_without_a_zone_can_be_compared_with_others() -> None:
    answer = {"name": f"{PLACE}/models/7", "versionId": "2", "versionCreateTime": "2026-11-22T10:00:00"}
    assert ModelVersion.parse(answer).age_rank > OLD.age_rank


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        ([OLD, NEW], ["a@1 and ", "b@1 all have the alias 'champion'", "Take the alias from all but"]),
        ([version("a@1", 1, CHAMPION, OUTGOING), version("b@1", 2, CHAMPION, OUTGOING)], ["a@1 and ", "b@1 all have"]),
        (
            [version("a@1", 1, PREVIOUS), version("b@1", 2, CHAMPION, ROLLED_BACK)],
            ["b@1 has the alias 'rolled-back' and still the alias 'champion'", "Run the rollback again", "take"],
        ),
        ([version("a@1", 1, PREVIOUS), version("b@1", 2)], ["a@1 has 'previous'", "give 'champion' to"]),
        ([version("a@1", 1, OUTGOING)], ["a@1 has 'outgoing'", "take 'outgoing' away"]),
    ],
    ids=["doubled", "two that leave", "rollback given up", "removed", "removed in a promotion"],
)
def test_what_a_person_may_have_meant_otherwise_is_a_doubt_that_names_models_and_the_way_out(
    versions: list[ModelVersion], named: list[str]
) -> None:
    for order in (versions, versions[::-1]):
        told = doubt(order)
        assert [part for part in named if part not in told] == []


@pytest.mark.parametrize(
    "versions",
    [
        [],
        [version("a@1", 1), version("b@1", 2, ROLLED_BACK)],  # none is in use, and a rolled-back one is no doubt
        [version("a@1", 1, PREVIOUS), NEW],
        [version("a@1", 1, PREVIOUS), version("b@1", 2), version("c@1", 3, CHAMPION)],  # moved from b to c by hand
        [version("a@1", 1, PREVIOUS, CHAMPION), version("b@1", 2)],  # moved back from b to a by hand
        [version("a@1", 1, CHAMPION, OUTGOING), version("b@1", 2)],  # a promotion that has not changed anything yet
        [version("a@1", 1, CHAMPION, OUTGOING), NEW],  # one that has only to be tidied up
        [OLD, version("b@1", 2, CHAMPION, ROLLED_BACK)],  # a rollback that has only to be tidied up
    ],
)
def test_one_champion_is_the_model_in_use_whoever_made_it_that(versions: list[ModelVersion]) -> None:
    assert doubt(versions) == ""


def test_a_rollback_may_finish_one_that_was_given_up() -> None:
    assert doubt([version("a@1", 1, PREVIOUS), version("b@1", 2, CHAMPION, ROLLED_BACK)], in_rollback=True) == ""


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([], None),
        ([version("a@1", 1), version("b@1", 2, ROLLED_BACK)], None),
        ([OLD, version("b@1", 2)], "a@1"),
        ([OLD, NEW], "b@1"),  # put there by hand, or at the same moment
        ([OLD, version("b@1", 2, CHAMPION, OUTGOING)], "a@1"),  # an older one takes its place
        ([OLD, version("b@1", 2, CHAMPION, ROLLED_BACK)], "a@1"),
        ([version("a@1", 1, CHAMPION, OUTGOING), version("b@1", 2)], "a@1"),  # cut off before the other had it
        ([version("a@1", 1, PREVIOUS), version("b@1", 2)], "a@1"),  # taken from both by each other's promotion
        ([version("a@1", 1, CHAMPION), version("b@1", 1, CHAMPION)], "b@1"),  # at the same time: by name
    ],
)
def test_the_one_in_use(versions: list[ModelVersion], expected: str | None) -> None:
    for order in (versions, versions[::-1]):
        found = champion_of(order)
        assert (found and found.name.rpartition("/")[2]) == expected


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([NEW], None),
        ([version("a@1", 1, PREVIOUS), NEW], "a@1"),
        ([version("a@1", 1, PREVIOUS), version("b@1", 2, CHAMPION, OUTGOING), version("c@1", 3, CHAMPION)], "b@1"),
        ([version("a@1", 1, CHAMPION), version("b@1", 2, CHAMPION, ROLLED_BACK)], None),
        ([version("a@1", 1, PREVIOUS), version("b@1", 2, CHAMPION), version("c@1", 3, CHAMPION)], "a@1"),
        ([OLD, NEW], "a@1"),
    ],
)
def test_the_one_to_go_back_to(versions: list[ModelVersion], expected: str | None) -> None:
    found = previous_of(versions)
    assert (found and found.name.rpartition("/")[2]) == expected


def test_nothing_is_left_to_do() -> None:
    assert settlement([]) == {}
    assert settlement([version("a@1", 1, PREVIOUS), NEW, version("c@1", 3, ROLLED_BACK, "default")]) == {}
    half_way = version("a@1", 1, CHAMPION, OUTGOING)
    assert settlement([half_way, version("b@1", 2)]) == {}  # its mark says that a promotion is under way


def test_what_is_left_to_do() -> None:
    replaced = [version("z@1", 0, PREVIOUS), version("a@1", 1, CHAMPION, OUTGOING), NEW]
    assert ids(settlement(replaced)) == [
        ("z@1", ["-previous"]),
        ("a@1", ["previous", "-champion", "-outgoing"]),
    ]
    rolled_back = [OLD, version("b@1", 2, CHAMPION, ROLLED_BACK)]
    assert ids(settlement(rolled_back)) == [("b@1", ["-champion"])]
    taken_from_both = [version("a@1", 1, PREVIOUS), version("b@1", 2, PREVIOUS)]
    assert ids(settlement(taken_from_both)) == [("b@1", ["champion", "-previous"])]
    assert ids(settlement([version("a@1", 1, "live"), version("b@1", 2, "live")], "live")) == [
        ("a@1", ["previous", "-live"])
    ]


@pytest.mark.parametrize("alias", ["live", "in-use", "a1", "a" * 128])
def test_aliases_that_will_do(alias: str) -> None:
    assert check_alias(alias) == alias


@pytest.mark.parametrize(
    "alias", ["", "a", "default", "previous", "outgoing", "rolled-back", "-x", "1a", "A1", "a_b", "a" * 129]
)
def test_aliases_that_will_not(alias: str) -> None:
    with pytest.raises(ConfigurationError, match="champion_alias: found"):
        check_alias(alias)
