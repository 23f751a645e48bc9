"""Promotion and rollback, safe against crashes, races and lost responses.

Every step can be repeated, and each call finishes what an interrupted one left (see `aliases`). Two simultaneous
promotions end with the newer model as champion; the other caller gets a `ChampionError`.
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
"""Attempts to settle the aliases while other runs change them."""

LOOKS: Final = 5
"""Reads before unclear aliases are an error: a running promotion leaves them unclear for moments."""


class ModelRegistry(Protocol):
    """The methods of the Model Registry that a promotion needs. `RegistryHook` implements them."""

    def get(self, name: str) -> ModelVersion: ...

    def versions_of(self, tuning: str, model: str = "") -> list[ModelVersion]: ...

    def merge_aliases(self, version: str, aliases: list[str]) -> None: ...


class CurrentModels(msgspec.Struct, frozen=True):
    """The model in use and the one before.

    :param champion: the model in use, if any
    :param previous: the model that a rollback puts into use again, if any
    """

    champion: ModelVersion | None
    previous: ModelVersion | None


class ModelAliases(msgspec.Struct, frozen=True):
    """The models of a recurring tuning, of which at most one is in use.

    :param hook: the Model Registry in the models' location
    :param tuning: value of the label `airflow-tuning`; empty for the versions of a single Model
    :param alias: alias of the model in use
    """

    hook: ModelRegistry
    tuning: str
    alias: str = CHAMPION

    def current(self, model: str = "", *, in_rollback: bool = False) -> CurrentModels:
        """Find the model in use without changing anything.

        :param model: a version of the tuning that the service may not list yet
        :param in_rollback: accept an unfinished rollback
        :raises ChampionError: the aliases do not tell which model is in use; a person must decide
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
        """Put a version into use. The model in use until now becomes the previous one.

        :param model: `projects/…/models/ID@VERSION`
        :param expected: the model in use that `model` was compared with; "" for none, None for any
        :raises ChampionError: another model than expected is in use, the aliases are unclear, `model` was rolled back,
            or another promotion won
        """
        challenger, champion = self.promotable(model, expected)
        if champion is None or champion.name != challenger.name:
            self._finish_others(challenger, expected)
            self._replace(champion, OUTGOING, challenger)
        return self._check_won(self._settle(challenger), challenger)

    def promotable(self, model: str, expected: str | None = None) -> tuple[ModelVersion, ModelVersion | None]:
        """Check that a version may be put into use, without changing anything.

        :param model, expected: as for `promote`
        :returns: the version and the model in use
        :raises ChampionError: as `promote`, if that is known before
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
        return challenger, champion

    def roll_back(self, model: str, expected: str | None = None) -> CurrentModels:
        """Put the previous version into use again and mark the model in use `rolled-back`.

        :param model: the previous version
        :param expected: the version to take out of use; None for any
        :raises ChampionError: another model than expected is in use, the aliases are unclear, or `model` is not the
            previous one
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
        """Finish an interrupted promotion of another run, after this promotion has passed its checks."""
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
        """Read and change the aliases until nothing is left to change."""
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
        """All versions, if two reads agree; else None.

        The service lists each Model at a different moment. During another promotion a single read can show a state
        that never existed.
        """
        versions = self.hook.versions_of(self.tuning, model)
        return versions if versions == self.hook.versions_of(self.tuning, model) else None

    def _check_won(self, current: CurrentModels, wanted: ModelVersion) -> CurrentModels:
        found = current.champion.name if current.champion else "No model"
        if found == wanted.name:
            return current
        if current.champion is None or current.champion.age_rank < wanted.age_rank:
            # Of two simultaneous promotions the newer wins. So the list is not complete yet.
            raise VertexUnavailableError(
                f"{wanted.name} was given the alias {self.alias}, and {found} is found to be in use. The next attempt "
                "looks again."
            )
        raise ChampionError(
            f"{found} was promoted at the same moment as {wanted.name} and stays in use, because it is newer. Start a "
            "new run to compare with it."
        )
