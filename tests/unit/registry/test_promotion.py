"""Promotions and rollbacks at the same time, in every order, some of them killed: in the end one model is in use.

Thousands of courses are tried here against a registry in memory, one call at a time; test_registry.py does it over the
wire.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

import msgspec
import pytest
from vertex_tuning.exceptions import ChampionError, VertexUnavailableError
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.registry.aliases import CHAMPION, PREVIOUS, ROLLED_BACK, ModelVersion, settlement
from vertex_tuning.registry.promotion import CurrentModels, ModelAliases

LAYOUTS = (["a@1", "b@1", "c@1", "d@1"], ["a@1", "a@2", "a@3", "a@4"], ["a@1", "a@2", "b@1", "a@3"])
"""A Model each, versions of one Model (continuous tuning), and both."""


class Killed(BaseException):
    pass


def model_of(name: str) -> str:
    return name.partition("@")[0]


class Course:
    """A registry whose callers take turns as a seed says, and are killed before a call of theirs when told so."""

    def __init__(self, names: list[str], seed: int) -> None:
        days = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(len(names)))
        self.versions = {name: ModelVersion(name, day) for name, day in zip(names, days, strict=True)}
        self.random = random.Random(seed)
        self.calls_left: dict[str, int] = {}
        self.turns: dict[str, threading.Semaphore] = {}
        self.arrived = threading.Semaphore(0)

    # What a registry hook can do

    def get(self, name: str) -> ModelVersion:
        self._wait_for_turn()
        return self.versions[name]

    def versions_of(self, *_: str) -> list[ModelVersion]:
        """Each Model at a moment of its own, so that an order of things may be seen that there never was."""
        found: list[ModelVersion] = []
        for model in dict.fromkeys(map(model_of, self.versions)):
            self._wait_for_turn()
            found += [version for name, version in self.versions.items() if model_of(name) == model]
        return found

    def merge_aliases(self, name: str, aliases: list[str]) -> None:
        self._wait_for_turn()
        added = {alias for alias in aliases if not alias.startswith("-")}
        removed = {alias[1:] for alias in aliases} - added
        for other, version in self.versions.items():
            if model_of(other) == model_of(name):
                kept = version.aliases - added - (removed if other == name else set())
                self.versions[other] = msgspec.structs.replace(
                    version, aliases=kept | (added if other == name else set())
                )

    # Who goes on when

    def _wait_for_turn(self) -> None:
        me = threading.current_thread().name
        if me not in self.turns:
            return
        self.calls_left[me] = self.calls_left.get(me, 1000) - 1
        if self.calls_left[me] < 0:
            raise Killed
        self.arrived.release()
        self.turns[me].acquire()

    def run(self, actors: Mapping[str, Callable[[], CurrentModels]]) -> dict[str, object]:
        """All actors side by side; what each of them returned or raised."""
        outcomes: dict[str, object] = {}
        self.turns = {name: threading.Semaphore(0) for name in actors}

        def act(name: str) -> None:
            try:
                outcomes[name] = actors[name]()
            except (ChampionError, VertexUnavailableError, Killed) as error:
                outcomes[name] = error
            self.arrived.release()

        threads = [threading.Thread(target=act, args=[name], name=name) for name in actors]
        for thread in threads:
            thread.start()
            self.arrived.acquire()  # at its first call
        while waiting := [name for name in actors if name not in outcomes]:
            self.turns[self.random.choice(waiting)].release()
            self.arrived.acquire()  # at its next call, or at its end
        for thread in threads:
            thread.join()
        self.turns = {}
        return outcomes

    def holders(self, alias: str) -> list[str]:
        return [name for name, version in self.versions.items() if alias in version.aliases]


@dataclass
class Scene:
    """So many of the models are promoted one after the other; then two more at once, sometimes with a rollback."""

    layout: list[str]
    already: int
    seed: int

    def __post_init__(self) -> None:
        self.course = Course(self.layout, self.seed)
        aliases = ModelAliases(cast(RegistryHook, self.course), "tuning")
        order = self.course.random.sample(self.layout, len(self.layout))
        for name in order[: self.already]:
            aliases.promote(name)
        self.in_use = order[self.already - 1] if self.already else ""
        rivals = order[self.already : self.already + 2]
        self.actors = {name: partial(aliases.promote, name, self.in_use) for name in rivals}
        if self.already == 2 and self.seed % 3 == 0:
            self.actors["rollback"] = partial(aliases.roll_back, order[0], self.in_use)

    def play(self) -> dict[str, object]:
        """In every second course one of them is killed, and its work repeated as Airflow's retry does."""
        victim = self.course.random.choice(list(self.actors))
        self.course.calls_left = {victim: self.course.random.randrange(9)} if self.seed % 2 else {}
        outcomes = self.course.run(self.actors)
        assert self.course.holders(CHAMPION) or not self.already  # some model is in use all the time
        self.course.calls_left = {}
        for name, outcome in list(outcomes.items()):
            if isinstance(outcome, Killed | VertexUnavailableError):
                outcomes |= self.course.run({name: self.actors[name]})
        return outcomes


def check(scene: Scene) -> None:
    outcomes, course = scene.play(), scene.course
    [champion] = course.holders(CHAMPION)
    assert len(course.holders(PREVIOUS)) <= 1, scene
    assert settlement(course.versions.values()) == {}, scene
    told = [one.champion.name for one in outcomes.values() if isinstance(one, CurrentModels) and one.champion]
    refused = [one for one in outcomes.values() if isinstance(one, ChampionError)]
    assert len(told) + len(refused) == len(scene.actors), scene
    assert champion in [*told, scene.in_use], scene  # the run whose model it is knows
    if "rollback" not in scene.actors and scene.seed % 2 == 0:
        assert all(champion in str(one) for one in refused), scene  # and who lost knows to whom


@pytest.mark.parametrize("already", [0, 1, 2])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["models", "versions", "both"])
def test_every_course_ends_with_one_champion(layout: list[str], already: int) -> None:
    for seed in range(300):
        check(Scene(layout, already, seed))


class Lagging(Course):
    """Its list shows what has changed only now and then."""

    shown: tuple[ModelVersion, ...] = ()
    looks = 0

    def versions_of(self, *_: str) -> list[ModelVersion]:
        if self.looks % 7 == 0:
            self.shown = tuple(super().versions_of())
        self.looks += 1
        return list(self.shown)


def test_a_list_that_lags_behind_is_no_lost_race() -> None:
    course = Lagging(["a@1", "b@1"], seed=1)
    aliases = ModelAliases(cast(RegistryHook, course), "tuning")
    for name in ("a@1", "b@1"):
        with contextlib.suppress(VertexUnavailableError):
            aliases.promote(name)
        assert aliases.promote(name).champion == course.versions[name]
    assert (course.holders(CHAMPION), course.holders(PREVIOUS)) == (["b@1"], ["a@1"])


@pytest.mark.parametrize("rolled_back", [["a@1"], ["a@1", "b@1"]])
def test_models_that_were_rolled_back_and_nothing_else_are_none_in_use(rolled_back: list[str]) -> None:
    course = Course(["a@1", "b@1", "c@1"], seed=1)
    for name in rolled_back:
        course.merge_aliases(name, [ROLLED_BACK])
    aliases = ModelAliases(cast(RegistryHook, course), "tuning")
    assert aliases.current() == CurrentModels(None, None)
    with pytest.raises(ChampionError, match=r"a@1 was rolled back, so it is not promoted\. Nothing was changed"):
        aliases.promote("a@1", expected="")
    assert aliases.promote("c@1", expected="") == CurrentModels(course.versions["c@1"], None)
    assert (course.holders(CHAMPION), course.holders(ROLLED_BACK)) == (["c@1"], rolled_back)
