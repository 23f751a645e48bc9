"""Putting a model into use and taking it out again, whatever crashes, races or gets lost.

Every step may be repeated, and a call that finds the work of another half done finishes it (see `aliases`). Two
promotions at once end with one champion, the newer of the two; the other one's caller is told so.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from vertex_tuning.exceptions import ChampionError, VertexUnavailableError
from vertex_tuning.registry.aliases import (
    CHAMPION,
    OUTGOING,
    PREVIOUS,
    ROLLED_BACK,
    ModelVersion,
    champion_of,
    doubt,
    previous_of,
    settlement,
)

ROUNDS: Final = 20
"""How often is looked again while others change the same aliases."""

LOOKS: Final = 5
"""How often is looked again while it is not clear which model is in use: promotions at work leave that for moments."""


class ModelRegistry(Protocol):
    """What a promotion asks of the Model Registry; the hook `RegistryHook` does it."""

    def get(self, name: str) -> ModelVersion: ...

    def versions_of(self, tuning: str, model: str = "") -> list[ModelVersion]: ...

    def merge_aliases(self, version: str, aliases: list[str]) -> None: ...


class CurrentModels(msgspec.Struct, frozen=True):
    """The models of a tuning that matter.

    :param champion: the one in use
    :param previous: the one a rollback goes back to
    """

    champion: ModelVersion | None
    previous: ModelVersion | None


class ModelAliases(msgspec.Struct, frozen=True):
    """The models of a recurring tuning, one of which is in use at a time.

    :param hook: in their location
    :param tuning: value of the label `airflow-tuning`; without it the versions of one Model are all there are
    :param alias: the champion's
    """

    hook: ModelRegistry
    tuning: str
    alias: str = CHAMPION

    def current(self, model: str = "", *, in_rollback: bool = False) -> CurrentModels:
        """What is in use now; nothing is changed.

        :param model: a version that belongs to them, whether or not the service lists it already
        :param in_rollback: accept a rollback that was begun and not finished
        :raises ChampionError: it is not clear which model is in use, as after a change by hand; a person decides
        """
        found = ""
        for _ in range(LOOKS):
            if (versions := self._look(model)) is None:
                continue
            found = doubt(versions, self.alias, in_rollback=in_rollback)
            if not found:
                return CurrentModels(champion_of(versions, self.alias), previous_of(versions, self.alias))
        if not found:
            raise self._unsettled()
        raise ChampionError(f"{found} Nothing was changed.")

    def promote(self, model: str, expected: str | None = None) -> CurrentModels:
        """Put a version into use in the place of the present one, which becomes the previous one.

        :param model: `projects/…/models/ID@VERSION`
        :param expected: the version that should be in use, "" for none: what `model` was compared with; any if None
        :raises ChampionError: another one is in use than expected or it is not clear which, `model` was rolled back,
            or another promotion won
        """
        challenger = self.hook.get(model)
        champion = self.current(model).champion
        if champion is None or champion.name != challenger.name:
            self._check_expected(champion, expected)
            if ROLLED_BACK in challenger.aliases:
                raise ChampionError(
                    f"{model} was rolled back, so it is not promoted. Nothing was changed. To have it promoted all the "
                    f"same, take the alias {ROLLED_BACK!r} from it in the Model Registry."
                )
            self._finish_others(challenger, expected)
            self._replace(champion, OUTGOING, challenger)
        return self._check_won(self._settle(challenger), challenger)

    def roll_back(self, model: str, expected: str | None = None) -> CurrentModels:
        """Put the previous version into use again; the one that was in use is marked `rolled-back`.

        :param model: the previous version
        :param expected: the version to be taken out of use; any if None
        :raises ChampionError: another one is in use or it is not clear which, or `model` is not the previous one
        """
        target = self.hook.get(model)
        champion = self.current(model, in_rollback=True).champion
        if champion is None or champion.name != target.name:
            self._check_expected(champion, expected)
            self._finish_others(target, expected)
            if PREVIOUS not in self.hook.get(model).aliases:
                raise ChampionError(
                    f"{model} has not the alias {PREVIOUS!r}, so a rollback does not go back to it. Run the rollback "
                    "again to find the model that it goes back to."
                )
            self._replace(champion, ROLLED_BACK, target)
        return self._check_won(self._settle(target), target)

    def _finish_others(self, version: ModelVersion, expected: str | None) -> None:
        """Finish what a promotion cut off has left half done; only now that nothing speaks against this one."""
        self._check_expected(self._settle(version).champion, expected)

    def _check_expected(self, champion: ModelVersion | None, expected: str | None) -> None:
        found = champion.name if champion else ""
        if expected is not None and found != expected:
            raise ChampionError(
                f"{found or 'No model'} is in use by now, expected {expected or 'none'}: another run or a person "
                "changed it. Nothing was changed here. Start a new run to compare with the model in use."
            )

    def _replace(self, old: ModelVersion | None, mark: str, new: ModelVersion) -> None:
        if old and mark not in old.aliases:
            self.hook.merge_aliases(old.name, [mark])
        stale = sorted(f"-{alias}" for alias in new.aliases & {OUTGOING, PREVIOUS})
        self.hook.merge_aliases(new.name, [self.alias, *stale])

    def _settle(self, version: ModelVersion) -> CurrentModels:
        """Look, and change what a killed run or two at once left half done, until nothing is left to be changed."""
        for _ in range(ROUNDS):
            if (versions := self._look(version.name)) is None:
                continue
            changes = settlement(versions, self.alias)
            if not changes:
                return CurrentModels(champion_of(versions, self.alias), previous_of(versions, self.alias))
            for name, aliases in changes.items():
                self.hook.merge_aliases(name, aliases)
        raise self._unsettled()

    def _unsettled(self) -> VertexUnavailableError:
        return VertexUnavailableError(f"The alias {self.alias} of tuning {self.tuning!r} was changed again and again.")

    def _look(self, model: str) -> list[ModelVersion] | None:
        """All versions, when two looks show the same.

        Each Model is listed at a moment of its own: while another promotion is at work, one look may show an order of
        things there never was.
        """
        versions = self.hook.versions_of(self.tuning, model)
        return versions if versions == self.hook.versions_of(self.tuning, model) else None

    def _check_won(self, current: CurrentModels, wanted: ModelVersion) -> CurrentModels:
        found = current.champion.name if current.champion else "No model"
        if found == wanted.name:
            return current
        if current.champion is None or current.champion.age_rank < wanted.age_rank:
            # Of two at once the newer stays. So the lists do not show all yet, or there is more to be told next time.
            raise VertexUnavailableError(
                f"{wanted.name} was given the alias {self.alias}, and {found} is found to be in use. The next attempt "
                "looks again."
            )
        raise ChampionError(
            f"{found} was promoted at the same moment as {wanted.name} and stays in use, because it is newer. Start a "
            "new run to compare with it."
        )
