"""Champions in the local Google Cloud's Model Registry, over the wire."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk import Asset
from vertex_tuning.exceptions import (
    ChampionError,
    ConfigurationError,
    NotFoundError,
    VertexRequestError,
    VertexUnavailableError,
)
from vertex_tuning.hooks import model_registry, vertex_clients
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.operators.registry import FindPreviousOperator, PromoteModelOperator, RollbackOperator
from vertex_tuning.registry.aliases import CHAMPION, PREVIOUS, ROLLED_BACK, champion_of
from vertex_tuning.registry.promotion import ModelAliases

from tests.integration.conftest import LOCATION
from tests.support.lineage import aliases, models, train
from tests.support.proxy import JSON, NOT_GOOGLES, Proxy
from tests.support.tasks import TaskContext, execute

MERGE = "models.mergeVersionAliases"
_numbers = itertools.count(1)


@pytest.fixture
def tuning() -> str:
    """A recurring tuning of one's own."""
    return f"tuning_{next(_numbers)}"


@pytest.fixture
def registry() -> RegistryHook:
    return RegistryHook(GoogleConnection(location=LOCATION))


@pytest.fixture
def model_aliases(registry: RegistryHook, tuning: str) -> ModelAliases:
    return ModelAliases(registry, tuning)


@pytest.fixture
def make(control: Callable[..., None], tuning: str) -> Callable[..., list[str]]:
    def made(count: int, **options: Any) -> list[str]:
        return models(control, tuning, count, **options)

    return made


def merges(emulator: str) -> int:
    """How many aliases have been changed."""
    answer = httpx.get(f"{emulator}/_internal/requests", params={"method": MERGE}).json()
    return len(answer["requests"])


class TestVersions:
    def test_of_all_models_of_the_tuning_on_all_pages_and_of_no_other(
        self, registry: RegistryHook, make: Any, tuning: str, control: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_registry, "MODELS_PER_PAGE", 2)
        versions, ours = make(4, versions=True), make(3)
        models(control, f"{tuning}_x", 1)
        found = registry.versions_of(tuning)
        assert {version.name for version in found} == {*ours, *versions}
        assert all(version.labels["airflow-tuning"] == tuning for version in found)

    def test_of_a_model_the_list_does_not_show_yet(
        self, registry: RegistryHook, make: Any, tuning: str, control: Any
    ) -> None:
        [model] = make(1)
        control("faults", method="models.list", staleList=3600.0)
        assert registry.versions_of(tuning) == []
        assert [version.name for version in registry.versions_of(tuning, model)] == [model]

    def test_without_a_tuning_only_those_of_the_model(self, registry: RegistryHook, make: Any) -> None:
        one = make(2, versions=True)
        make(1)
        assert {version.name for version in registry.versions_of("", one[0])} == set(one)

    def test_a_model_that_goes_while_it_is_looked_at(
        self, registry: RegistryHook, make: Any, tuning: str, control: Any
    ) -> None:
        first, second = make(2)
        gone = second.partition("@")[0].rpartition("/")[2]
        control("faults", method="models.listVersions", resource=gone, error={"code": 404, "message": "gone"})
        assert [version.name for version in registry.versions_of(tuning)] == [first]

    def test_trouble_that_passes_is_waited_out(
        self, registry: RegistryHook, make: Any, tuning: str, control: Any
    ) -> None:
        [model] = make(1)
        control("faults", method="models.list", count=1, error={"code": 503})
        control("faults", method="models.list", count=1, error={"code": 429, "headers": {"Retry-After": "0"}})
        control("faults", method="models.listVersions", count=1, drop="after")
        control("faults", method=MERGE, count=1, drop="after")
        registry.merge_aliases(model, ["champion"])
        assert aliases(tuning) == {model: ["champion"]}

    def test_trouble_that_stays_is_an_error_a_retry_may_help(
        self, registry: RegistryHook, tuning: str, control: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(vertex_clients, "RETRY_SECONDS", 0.1)
        control("faults", method="models.list", error={"code": 503})
        with pytest.raises(VertexUnavailableError, match="503"):
            registry.versions_of(tuning)

    @pytest.mark.parametrize("name", ["", "None", "models/1", "projects/p/locations/l/endpoints/1"])
    def test_what_is_no_model(self, registry: RegistryHook, name: str) -> None:
        with pytest.raises(ConfigurationError):
            registry.get(name)

    def test_a_model_that_is_not_there(self, registry: RegistryHook) -> None:
        with pytest.raises(NotFoundError):
            registry.get(f"projects/p/locations/{LOCATION}/models/1@1")


class TestEndpoints:
    def test_the_one_the_job_names(self, registry: RegistryHook, tuning: str) -> None:
        job = train(tuning, epoch_count=2)
        assert job.tuned_model
        version = registry.get(job.tuned_model.model)
        assert len(version.endpoints) == 2  # one for each checkpoint
        assert registry.endpoint_of(version) == job.tuned_model.endpoint
        found = registry.job_of(version)
        assert found
        assert found.name == job.name

    def test_one_that_serves_no_more(self, registry: RegistryHook, make: Any, emulator: str) -> None:
        version = registry.get(make(1)[0])
        [endpoint] = version.endpoints
        [deployed] = httpx.get(f"{emulator}/v1/{endpoint}").json()["deployedModels"]
        httpx.post(
            f"{emulator}/v1/{endpoint}:undeployModel", json={"deployedModelId": deployed["id"]}
        ).raise_for_status()
        with pytest.raises(ChampionError, match="Deploy it again"):
            registry.endpoint_of(version)
        httpx.delete(f"{emulator}/v1/{endpoint}").raise_for_status()
        with pytest.raises(ChampionError, match="Deploy it again"):
            registry.endpoint_of(version)

    @pytest.mark.parametrize(("share", "others"), [(0, 100), (40, 60)])
    def test_one_that_gets_too_little_of_the_traffic(
        self, proxied: Proxy, registry: RegistryHook, make: Any, share: int, others: int
    ) -> None:
        version = registry.get(make(1)[0])
        [endpoint] = version.endpoints
        found = httpx.get(f"{proxied.url}/v1/{endpoint}").json()
        [deployed] = found["deployedModels"]
        found["trafficSplit"] = {deployed["id"]: share, "other": others}
        proxied.replace = lambda _, path: (
            (200, "application/json", json.dumps(found).encode()) if path.partition("?")[0].endswith(endpoint) else None
        )
        with pytest.raises(ChampionError, match=rf"@1 .*gets {share} % of the traffic of {endpoint}, expected 100 %"):
            registry.endpoint_of(version)

    def test_of_a_model_whose_job_is_not_known(self, registry: RegistryHook, make: Any, control: Any) -> None:
        version = registry.get(make(1)[0])
        control("faults", method="tuningJobs.get", error={"code": 404, "message": "no such job"})
        assert registry.endpoint_of(version) == version.endpoints[0]


ASKS: dict[str, Callable[[RegistryHook, str], Any]] = {
    "get": lambda registry, model: registry.get(model),
    "list": lambda registry, model: registry.versions_of("any", model),
    "listVersions": lambda registry, model: registry.versions_of("", model),
    "mergeVersionAliases": lambda registry, model: registry.merge_aliases(model, ["odd"]),
}
"""What is asked for with each method of `models`."""


class TestOddAnswers:
    @pytest.fixture(autouse=True)
    def retries_end_soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vertex_clients, "RETRY_SECONDS", 0.1)

    @pytest.mark.parametrize("answer", NOT_GOOGLES)
    @pytest.mark.parametrize("method", ASKS)
    def test_what_something_else_answers_may_be_other_next_time(
        self, proxied: Proxy, registry: RegistryHook, make: Any, method: str, answer: str
    ) -> None:
        [model] = make(1)
        proxied.replace = lambda _, path: NOT_GOOGLES[answer] if "/models" in path else None
        with pytest.raises(VertexUnavailableError) as error:
            ASKS[method](registry, model)
        assert len(str(error.value)) <= 2000

    @pytest.mark.parametrize("answer", NOT_GOOGLES)
    def test_nor_is_an_endpoint_taken_for_gone(
        self, proxied: Proxy, registry: RegistryHook, make: Any, answer: str
    ) -> None:
        version = registry.get(make(1)[0])
        proxied.replace = lambda _, path: NOT_GOOGLES[answer] if "/endpoints/" in path else None
        with pytest.raises(VertexUnavailableError):
            registry.endpoint_of(version)

    @pytest.mark.parametrize("code", [400, 403, 404])
    def test_what_google_refuses_is_final_and_asked_once(
        self, registry: RegistryHook, make: Any, control: Any, emulator: str, code: int
    ) -> None:
        [model] = make(1)
        control("faults", method="models.get", error={"code": code, "message": "You must not. x=http://a/?key=open"})
        with pytest.raises(VertexRequestError, match=rf"While reading {model}: {code} You must not\.") as error:
            registry.get(model)
        assert "key=open" not in str(error.value)
        asked = httpx.get(f"{emulator}/_internal/requests", params={"method": "models.get"}).json()["requests"]
        assert len(asked) == 1

    @pytest.mark.parametrize(
        "changed",
        [
            {"name": None},
            {"name": 7},
            {"name": "models/7"},
            {"versionId": None},
            {"versionCreateTime": None},
            {"versionCreateTime": "yesterday"},
            {"versionCreateTime": "0001-01-01T00:00:00+05:00"},
            {"versionCreateTime": "9999-12-31T23:59:59-05:00"},
            {"versionAliases": "champion"},
            {"labels": ["a"]},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("method", ["get", "listVersions"])
    def test_a_model_without_name_version_or_date(
        self, proxied: Proxy, registry: RegistryHook, make: Any, method: str, changed: dict[str, Any]
    ) -> None:
        [model] = make(1)
        whole = httpx.get(f"{proxied.url}/v1/{model}").json()
        odd = {key: value for key, value in {**whole, **changed}.items() if value is not None}
        content = json.dumps(odd if method == "get" else {"models": [odd]}).encode()
        proxied.replace = lambda _, path: (200, JSON, content) if "/models/" in path else None
        with pytest.raises(VertexUnavailableError):
            ASKS[method](registry, model)

    def test_a_list_that_never_ends_ends(self, proxied: Proxy, registry: RegistryHook, tuning: str) -> None:
        proxied.replace = lambda _, path: (200, JSON, b'{"nextPageToken": "again"}') if "/models?" in path else None
        with pytest.raises(VertexUnavailableError, match="does not end"):
            registry.versions_of(tuning)

    def test_a_huge_model_is_read(self, proxied: Proxy, registry: RegistryHook, make: Any) -> None:
        [model] = make(1)
        whole = {**httpx.get(f"{proxied.url}/v1/{model}").json(), "description": "x" * 10_000_000}
        proxied.replace = lambda _, path: (200, JSON, json.dumps(whole).encode()) if "/models/" in path else None
        assert registry.get(model).name == model


class TestPromotion:
    def test_the_first(self, model_aliases: ModelAliases, make: Any, tuning: str) -> None:
        [model] = make(1)
        current = model_aliases.promote(model, "")
        assert current.champion
        assert (current.champion.name, current.previous) == (model, None)
        assert aliases(tuning) == {model: [CHAMPION]}

    def test_one_after_the_other(self, model_aliases: ModelAliases, make: Any, tuning: str) -> None:
        first, second, third = make(3)
        model_aliases.promote(first, "")
        model_aliases.promote(second, first)
        model_aliases.promote(third, second)
        assert aliases(tuning) == {third: [CHAMPION], second: [PREVIOUS]}

    def test_an_older_model_in_the_place_of_a_newer_one(
        self, model_aliases: ModelAliases, make: Any, tuning: str
    ) -> None:
        older, newer = make(2)
        model_aliases.promote(newer)
        model_aliases.promote(older, newer)
        assert aliases(tuning) == {older: [CHAMPION], newer: [PREVIOUS]}

    def test_repeated_it_changes_nothing(
        self, model_aliases: ModelAliases, make: Any, tuning: str, emulator: str
    ) -> None:
        first, second = make(2)
        model_aliases.promote(first, "")
        before = model_aliases.promote(second, first)
        changed = merges(emulator)
        assert model_aliases.promote(second, first) == before
        assert merges(emulator) == changed
        assert aliases(tuning) == {second: [CHAMPION], first: [PREVIOUS]}

    def test_versions_of_one_model(self, model_aliases: ModelAliases, make: Any, tuning: str) -> None:
        first, second, third = make(3, versions=True)
        assert first.partition("@")[0] == third.partition("@")[0]
        for before, model in itertools.pairwise(["", first, second, third]):
            model_aliases.promote(model, before)
        assert aliases(tuning) == {third: [CHAMPION], second: [PREVIOUS]}

    def test_not_in_the_place_of_one_it_was_not_compared_with(
        self, model_aliases: ModelAliases, make: Any, tuning: str
    ) -> None:
        first, second, third = make(3)
        model_aliases.promote(first, "")
        model_aliases.promote(second, first)
        for expected in (first, ""):
            with pytest.raises(ChampionError, match=f"{second} is in use by now, expected"):
                model_aliases.promote(third, expected)
        assert aliases(tuning) == {second: [CHAMPION], first: [PREVIOUS]}

    def test_an_alias_of_ones_own(self, registry: RegistryHook, make: Any, tuning: str) -> None:
        first, second = make(2)
        live = ModelAliases(registry, tuning, "live")
        live.promote(first)
        live.promote(second)
        assert aliases(tuning) == {second: ["live"], first: [PREVIOUS]}

    def test_the_model_a_person_has_put_into_use_by_hand_is_replaced_as_any_other(
        self, registry: RegistryHook, model_aliases: ModelAliases, make: Any, tuning: str
    ) -> None:
        """Which one `previous` is then, is for the person to say: it is left as it is until the next promotion."""
        first, second, third, fourth = make(4)
        model_aliases.promote(first)
        model_aliases.promote(second)
        registry.merge_aliases(second, [f"-{CHAMPION}"])
        registry.merge_aliases(third, [CHAMPION])
        current = model_aliases.current()
        assert current.champion
        assert current.previous
        assert (current.champion.name, current.previous.name) == (third, first)
        model_aliases.promote(fourth, third)
        assert aliases(tuning) == {fourth: [CHAMPION], third: [PREVIOUS]}


class TestChangesByHand:
    """What a person may have meant in more than one way is an error; no alias is changed."""

    def states(self, first: str, second: str) -> dict[str, dict[str, list[str]]]:
        return {
            "doubled": {first: [CHAMPION], second: [CHAMPION]},
            "removed": {first: [PREVIOUS], second: []},
            "a rollback given up": {first: [PREVIOUS], second: [CHAMPION, ROLLED_BACK]},
        }

    @pytest.mark.parametrize("state", ["doubled", "removed", "a rollback given up"])
    def test_a_promotion_names_the_models_and_changes_nothing(
        self, registry: RegistryHook, model_aliases: ModelAliases, make: Any, tuning: str, state: str
    ) -> None:
        first, second, third = make(3)
        given = self.states(first, second)[state]
        for model, held in given.items():
            if held:
                registry.merge_aliases(model, held)
        before = {model: held for model, held in given.items() if held}
        for expected in (None, "", first, second):
            with pytest.raises(ChampionError, match="Nothing was changed") as error:
                model_aliases.promote(third, expected)
            named = [model for model in (first, second) if model in str(error.value)]
            assert named == {"doubled": [first, second], "removed": [first], "a rollback given up": [second]}[state]
            assert aliases(tuning) == before

    def test_a_rollback_given_up_is_finished_by_the_next_one(
        self, model_aliases: ModelAliases, make: Any, tuning: str
    ) -> None:
        first, second = make(2)
        model_aliases.promote(first)
        model_aliases.promote(second)
        with pytest.raises(KilledError):
            ModelAliases(Killed(1), tuning).roll_back(first, second)
        found = execute(FindPreviousOperator(task_id="find", tuning=tuning, location=LOCATION))
        assert (found["champion"], found["previous"]["model"]) == (second, first)
        model_aliases.roll_back(first, second)
        assert aliases(tuning) == {first: [CHAMPION], second: [ROLLED_BACK]}

    def test_two_that_a_rollback_could_go_back_to(self, registry: RegistryHook, make: Any, tuning: str) -> None:
        first, second, third = make(3)
        for model, held in ((first, PREVIOUS), (second, PREVIOUS), (third, CHAMPION)):
            registry.merge_aliases(model, [held])
        with pytest.raises(ChampionError, match="all have the alias 'previous'") as error:
            execute(FindPreviousOperator(task_id="find", tuning=tuning, location=LOCATION))
        assert {first, second} <= set(str(error.value).split())

    def test_or_ended_by_a_person_who_keeps_the_model(
        self, model_aliases: ModelAliases, make: Any, tuning: str
    ) -> None:
        first, second, third = make(3)
        model_aliases.promote(first)
        model_aliases.promote(second)
        with pytest.raises(KilledError):
            ModelAliases(Killed(1), tuning).roll_back(first, second)
        model_aliases.hook.merge_aliases(second, [f"-{ROLLED_BACK}"])
        model_aliases.promote(third, second)
        assert aliases(tuning) == {third: [CHAMPION], second: [PREVIOUS]}

    def test_what_no_longer_holds_is_said_before_anything_is_settled(
        self, model_aliases: ModelAliases, make: Any, tuning: str
    ) -> None:
        """A promotion cut off has left two champions, one of them marked: even that stays as it is."""
        first, second, third = make(3)
        model_aliases.promote(first)
        with pytest.raises(KilledError):
            ModelAliases(Killed(2), tuning).promote(second, first)
        before = aliases(tuning)
        assert sorted(before[first]) == [CHAMPION, "outgoing"]
        with pytest.raises(ChampionError, match=f"{second} is in use by now, expected {first}"):
            model_aliases.promote(third, first)
        assert aliases(tuning) == before


class KilledError(Exception):
    pass


class Killed(RegistryHook):
    """Dies after so many changes."""

    def __init__(self, changes: int) -> None:
        super().__init__(GoogleConnection(location=LOCATION))
        self.changes = changes

    def merge_aliases(self, version: str, aliases: list[str]) -> None:
        if not self.changes:
            raise KilledError
        super().merge_aliases(version, aliases)
        self.changes -= 1


@pytest.mark.parametrize("versions", [False, True], ids=["models", "versions"])
class TestKilled:
    def test_a_promotion(
        self, model_aliases: ModelAliases, registry: RegistryHook, make: Any, tuning: str, versions: bool
    ) -> None:
        all_models = make(8, versions=versions)
        model_aliases.promote(all_models[0])
        model_aliases.promote(all_models[1])
        for changes in range(5):
            old, new = all_models[changes + 1 : changes + 3]
            try:
                ModelAliases(Killed(changes), tuning).promote(new, old)
            except KilledError:
                in_use = champion_of(registry.versions_of(tuning))
                assert in_use
                assert in_use.name == (old if changes < 2 else new)
            model_aliases.promote(new, old)
            assert aliases(tuning) == {new: [CHAMPION], old: [PREVIOUS]}
        assert changes > 3  # more than there are to be killed after

    def test_a_promotion_nobody_repeats_is_finished_or_overtaken_by_the_next(
        self, model_aliases: ModelAliases, make: Any, tuning: str, versions: bool
    ) -> None:
        first, second, third = make(3, versions=versions)
        model_aliases.promote(first)
        with pytest.raises(KilledError):
            ModelAliases(Killed(2), tuning).promote(second, first)
        model_aliases.promote(third, second)
        assert aliases(tuning) == {third: [CHAMPION], second: [PREVIOUS]}

    def test_a_rollback(self, model_aliases: ModelAliases, make: Any, tuning: str, versions: bool) -> None:
        first, second = make(2, versions=versions)
        for changes in range(4):
            model_aliases.promote(first)
            model_aliases.promote(second)
            assert aliases(tuning) == {second: [CHAMPION], first: [PREVIOUS]}
            with_kill = ModelAliases(Killed(changes), tuning)
            try:
                with_kill.roll_back(first, second)
            except KilledError:
                assert champion_of(with_kill.hook.versions_of(tuning)) is not None
            model_aliases.roll_back(first, second)
            assert aliases(tuning) == {first: [CHAMPION], second: [ROLLED_BACK]}
            model_aliases.hook.merge_aliases(second, [f"-{ROLLED_BACK}"])


class TestTwoAtOnce:
    def test_end_with_one_champion_and_both_know(self, make: Any, tuning: str) -> None:
        """Again and again, on the models the time before left: whoever is champion is replaced by two others."""
        all_models = make(3)
        ModelAliases(RegistryHook(GoogleConnection(location=LOCATION)), tuning).promote(all_models[0])
        for _ in range(15):
            [in_use] = [name for name, held in aliases(tuning).items() if CHAMPION in held]
            rivals = [model for model in all_models if model != in_use]
            outcomes = self.promote_together(tuning, rivals, in_use)
            found = aliases(tuning)
            [champion] = [name for name, held in found.items() if CHAMPION in held]
            assert champion in rivals
            assert sorted(itertools.chain(*found.values())) == [CHAMPION, PREVIOUS]
            assert not isinstance(outcomes[champion], Exception)
            [loser] = [model for model in rivals if model != champion]
            if isinstance(outcomes[loser], ChampionError):
                assert champion in str(outcomes[loser])

    def promote_together(self, tuning: str, rivals: list[str], in_use: str) -> dict[str, Any]:
        outcomes: dict[str, Any] = {}
        start = threading.Barrier(len(rivals))

        def promote(model: str) -> None:
            model_aliases = ModelAliases(RegistryHook(GoogleConnection(location=LOCATION)), tuning)
            start.wait()
            try:
                outcomes[model] = model_aliases.promote(model, in_use)
            except ChampionError as error:
                outcomes[model] = error

        threads = [threading.Thread(target=promote, args=[model]) for model in rivals]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes


class TestRollback:
    def test_the_previous_one_is_in_use_again(self, model_aliases: ModelAliases, make: Any, tuning: str) -> None:
        first, second, third = make(3)
        for model in (first, second):
            model_aliases.promote(model)
        current = model_aliases.roll_back(first, second)
        assert current.champion
        assert (current.champion.name, current.previous) == (first, None)
        assert aliases(tuning) == {first: [CHAMPION], second: [ROLLED_BACK]}
        assert model_aliases.roll_back(first, second) == current
        with pytest.raises(ChampionError, match="was rolled back"):
            model_aliases.promote(second, first)
        model_aliases.promote(third, first)
        assert aliases(tuning) == {third: [CHAMPION], first: [PREVIOUS], second: [ROLLED_BACK]}

    def test_only_to_the_previous_one_and_from_the_one_in_use(
        self, model_aliases: ModelAliases, make: Any, tuning: str
    ) -> None:
        first, second, third = make(3)
        for model in (first, second):
            model_aliases.promote(model)
        with pytest.raises(ChampionError, match="has not the alias 'previous'"):
            model_aliases.roll_back(third, second)
        with pytest.raises(ChampionError, match="is in use by now"):
            model_aliases.roll_back(first, third)
        assert aliases(tuning) == {second: [CHAMPION], first: [PREVIOUS]}


class Outlets(TaskContext):
    """With the events of the task's outlets."""

    def __init__(self, *assets: Asset) -> None:
        super().__init__()
        self["outlet_events"] = {asset: SimpleNamespace(extra={}) for asset in assets}


class TestOperators:
    def test_promotion_rollback_and_what_the_asset_tells(self, make: Any, tuning: str) -> None:
        asset = Asset("a_model")
        first, second = make(2)
        place: dict[str, Any] = {"tuning": tuning, "location": LOCATION, "outlets": [asset]}
        promoted = execute(
            PromoteModelOperator(task_id="first", model=first, expected_champion="None", **place), Outlets(asset)
        )
        assert promoted["previous"] is None
        context = Outlets(asset)
        event = {"dataset_hash": "abc", "metrics": {"/eval_total_loss": 0.1}, "verdict": "better"}
        promoted = execute(
            PromoteModelOperator(task_id="second", model=second, expected_champion=first, event_extra=event, **place),
            context,
        )
        told = {name: promoted[name] for name in ("job", "model", "endpoint")}
        assert (promoted["model"], promoted["previous"]) == (second, first)
        assert context["outlet_events"][asset].extra == {**event, **told}
        found = execute(FindPreviousOperator(task_id="find", tuning=tuning, location=LOCATION))
        assert (found["champion"], found["previous"]["model"]) == (second, first)
        context = Outlets(asset)
        back = execute(
            RollbackOperator(
                task_id="back", model=found["previous"]["model"], expected_champion=found["champion"], **place
            ),
            context,
        )
        assert (back["model"], back["rolled_back"], back["previous"]) == (first, second, None)
        assert context["outlet_events"][asset].extra["verdict"] == "rolled back"
        assert context["outlet_events"][asset].extra["endpoint"] == found["previous"]["endpoint"]

    @pytest.mark.parametrize("count", [0, 1])
    def test_nothing_to_go_back_to(self, make: Any, model_aliases: ModelAliases, tuning: str, count: int) -> None:
        for model in make(count):
            model_aliases.promote(model)
        with pytest.raises(ChampionError, match="nothing to go back to"):
            execute(FindPreviousOperator(task_id="find", tuning=tuning, location=LOCATION))

    def test_a_model_that_serves_nothing_is_not_promoted(
        self, make: Any, tuning: str, emulator: str, registry: RegistryHook
    ) -> None:
        [model] = make(1)
        [endpoint] = registry.get(model).endpoints
        [deployed] = httpx.get(f"{emulator}/v1/{endpoint}").json()["deployedModels"]
        httpx.post(
            f"{emulator}/v1/{endpoint}:undeployModel", json={"deployedModelId": deployed["id"]}
        ).raise_for_status()
        with pytest.raises(ChampionError, match="not deployed"):
            execute(PromoteModelOperator(task_id="promote", model=model, tuning=tuning))
        assert aliases(tuning) == {}

    def test_a_wrong_alias(self, make: Any) -> None:
        with pytest.raises(ConfigurationError, match="champion_alias"):
            execute(PromoteModelOperator(task_id="promote", model=make(1)[0], champion_alias="default"))


class TestCheckpoints:
    def test_the_promoted_one_becomes_the_default_and_answers(self, registry: RegistryHook, tuning: str) -> None:
        job = train(tuning, epoch_count=2)
        assert job.tuned_model
        first, last = job.tuned_model.checkpoints
        model = job.tuned_model.model
        assert registry.get(model).checkpoint_id == last.checkpoint_id
        given: dict[str, Any] = {"task_id": "promote", "model": model, "tuning": tuning, "location": LOCATION}
        result = execute(PromoteModelOperator(checkpoint_id=first.checkpoint_id, **given))
        assert (result["model"], result["endpoint"]) == (model, first.endpoint)
        assert registry.get(model).checkpoint_id == first.checkpoint_id
        execute(PromoteModelOperator(checkpoint_id="None", **given))
        assert registry.get(model).checkpoint_id == first.checkpoint_id

    def test_a_model_that_is_not_put_into_use_keeps_its_own(self, registry: RegistryHook, tuning: str) -> None:
        job = train(tuning, epoch_count=2)
        assert job.tuned_model
        first, last = job.tuned_model.checkpoints
        model = job.tuned_model.model
        given: dict[str, Any] = {"model": model, "tuning": tuning, "location": LOCATION}
        promote = PromoteModelOperator(
            task_id="promote", checkpoint_id=first.checkpoint_id, expected_champion=f"{model}9", **given
        )
        with pytest.raises(ChampionError, match="Nothing was changed here"):
            execute(promote)
        registry.merge_aliases(model, [ROLLED_BACK])
        with pytest.raises(ChampionError, match="was rolled back, so it is not promoted"):
            execute(PromoteModelOperator(task_id="again", checkpoint_id=first.checkpoint_id, **given))
        assert registry.get(model).checkpoint_id == last.checkpoint_id
