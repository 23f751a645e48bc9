"""Which model is in use: finding it, putting another in its place, going back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vertex_tuning.champions import CHAMPION, check_alias
from vertex_tuning.exceptions import ChampionError
from vertex_tuning.operators.base import VertexOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from vertex_tuning.champions import ModelVersion
    from vertex_tuning.hooks.registry import RegistryHook
    from vertex_tuning.promotion import Standing, Succession


class ChampionOperator(VertexOperator):
    """
    Base of the operators that deal with the model in use.

    :param tuning: name of the recurring tuning, as its jobs have it as label `airflow-tuning`: all models with that
        label stand against each other. Without it, only versions of one Model do. (templated)
    :param champion_alias: the alias in the Model Registry that says which model is in use. (templated)
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "tuning", "champion_alias")

    def __init__(self, *, tuning: str = "", champion_alias: str = CHAMPION, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tuning = tuning
        self.champion_alias = champion_alias

    @cached_property
    def registry(self) -> RegistryHook:
        from vertex_tuning.hooks.registry import RegistryHook

        return RegistryHook(**self._place())

    @cached_property
    def succession(self) -> Succession:
        from vertex_tuning.promotion import Succession

        return Succession(self.registry, self.tuning, check_alias(self.champion_alias))

    def describe(self, version: ModelVersion | None) -> dict[str, Any] | None:
        """A version as a result has it.

        :raises ChampionError: nothing can be asked of it any more
        """
        if version is None:
            return None
        return {
            "model": version.name,
            "endpoint": self.registry.endpoint_of(version),
            "job": version.job_name,
            "created": version.created.isoformat(),
        }

    def conclude(self, context: Context, standing: Standing, event: dict[str, Any]) -> dict[str, Any]:
        """What a change of the model in use returns, and tells those who wait for the model's asset."""
        result: dict[str, Any] = {
            **(self.describe(standing.champion) or {}),
            "previous": standing.previous.name if standing.previous else None,
        }
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {**event, "model": result["model"], "endpoint": result["endpoint"]}
        self.log.info("In use: %s at %s; before: %s.", result["model"], result["endpoint"], result["previous"])
        return result


class GetChampionOperator(ChampionOperator):
    """
    Find the model in use and the one before it; return both as `champion` and `previous`, with model and endpoint.

    :param require_previous: fail when there is no model to go back to.
    """

    def __init__(self, *, require_previous: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.require_previous = require_previous

    def execute(self, context: Context) -> dict[str, Any]:
        standing = self.succession.standing()
        if self.require_previous and not (standing.champion and standing.previous):
            raise ChampionError(
                f"tuning {self.tuning!r}: found no model in use with one before it (alias previous), so there is "
                "nothing to go back to. Put another version into use with the PromoteModelOperator."
            )
        champion = standing.champion
        # Only its name is wanted when it is to be replaced: it may be gone, which is one reason to go back.
        in_use = {"model": champion.name} if champion and self.require_previous else self.describe(champion)
        return {"champion": in_use, "previous": self.describe(standing.previous)}


class PromoteModelOperator(ChampionOperator):
    """
    Put a model into use: it gets the champion's alias, and the one in use before gets the alias `previous`.

    Nothing but aliases is changed. May be repeated; a promotion cut off half-way is finished by the next one, and of
    two at once the newer model stays in use, while the other's task fails and says so.

    :param model: `projects/…/models/ID@VERSION`. (templated)
    :param expected_champion: the model it was compared with, empty for none; when another one is in use by now,
        nothing is changed and the task fails. Any will do when this is not given at all. (templated)
    :param event_extra: what the event of each of the task's outlets says, beside model and endpoint. (templated)
    """

    template_fields: Sequence[str] = (*ChampionOperator.template_fields, "model", "expected_champion", "event_extra")
    template_fields_renderers = {"event_extra": "json"}

    def __init__(
        self,
        *,
        model: str,
        expected_champion: str | None = None,
        event_extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.expected_champion = expected_champion
        self.event_extra = event_extra

    def execute(self, context: Context) -> dict[str, Any]:
        # Found before anything is changed: a model that cannot be asked is not put into use.
        self.registry.endpoint_of(self.registry.get(self.model))
        # A template that found no model in use says "None".
        expected = "" if self.expected_champion == "None" else self.expected_champion
        return self.conclude(context, self.succession.promote(self.model, expected), self.event_extra or {})


class RollbackOperator(ChampionOperator):
    """
    Put the previous model into use again. The one in use until now gets the alias `rolled-back` and is not promoted
    again by itself; there is no previous model afterwards, so that a second rollback does not bring it back.

    :param model: the previous model, `projects/…/models/ID@VERSION`, that was tested. (templated)
    :param expected_champion: the model to be taken out of use; when another one is in use by now, nothing is changed
        and the task fails. (templated)
    """

    template_fields: Sequence[str] = (*ChampionOperator.template_fields, "model", "expected_champion")

    def __init__(self, *, model: str, expected_champion: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.expected_champion = expected_champion

    def execute(self, context: Context) -> dict[str, Any]:
        standing = self.succession.roll_back(self.model, self.expected_champion)
        event = {"verdict": "rolled back", "rolled_back": self.expected_champion}
        if standing.champion:
            event["job"] = standing.champion.job_name or ""
        return {**self.conclude(context, standing, event), "rolled_back": self.expected_champion}
