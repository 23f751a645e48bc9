"""Find, replace and roll back the model in use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from vertex_tuning.deployment import require_own
from vertex_tuning.exceptions import ChampionError
from vertex_tuning.operators.base import VertexOperator
from vertex_tuning.registry.aliases import CHAMPION, PREVIOUS, check_alias
from vertex_tuning.results import ModelDescription, PreviousResult, PromotionResult, RollbackResult
from vertex_tuning.text.templates import rendered

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from vertex_tuning.registry.aliases import ModelVersion
    from vertex_tuning.registry.promotion import CurrentModels, ModelAliases


class ChampionOperator(VertexOperator):
    """Base of the operators that read or change the model in use.

    :param tuning: name of the recurring tuning, the value of the label `airflow-tuning`: at most one of the models with
        this label is in use. If not set, this applies to the versions of one Model. (templated)
    :param champion_alias: alias of the model in use in the Model Registry. (templated)
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "tuning", "champion_alias")

    def __init__(self, *, tuning: str = "", champion_alias: str = CHAMPION, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tuning = tuning
        self.champion_alias = champion_alias

    @cached_property
    def aliases(self) -> ModelAliases:
        from vertex_tuning.registry.promotion import ModelAliases

        return ModelAliases(self.registry, self.tuning, check_alias(self.champion_alias))

    def describe(self, version: ModelVersion) -> ModelDescription:
        """Describe a model: its name, its endpoint and its tuning job.

        :raises ChampionError: no endpoint serves the model
        """
        return ModelDescription(
            model=version.name,
            endpoint=self.registry.endpoint_of(version),
            job=version.job_name,
            created=version.created.isoformat(),
        )


class FindPreviousOperator(ChampionOperator):
    """Find the model that a rollback puts into use again.

    The result has `previous` (model, endpoint, job), and `champion`, the name of the model in use. The task fails if
    there is no previous model, or if no endpoint serves it.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        current = self.aliases.current(in_rollback=True)
        champion, previous = (version and version.name for version in (current.champion, current.previous))
        self.log.info("In use: %s", champion or "no model")
        self.log.info("Before it: %s", previous or f"no model has the alias {PREVIOUS!r}")
        if not (current.champion and current.previous):
            raise ChampionError(
                f"tuning {self.tuning!r}: in use is {champion or 'no model'}, and no model before it has the alias "
                f"{PREVIOUS!r}, so there is nothing to go back to. Give {PREVIOUS!r} to a model in the Model Registry "
                "and run the rollback again."
            )
        model = self.describe(current.previous)
        result = PreviousResult(
            champion=current.champion.name,
            previous=model,
            previous_model=model.model,
            previous_endpoint=model.endpoint,
        )
        return result.as_xcom()


class ReplaceChampionOperator(ChampionOperator):
    """Base of the operators that put another model into use.

    :param model: `projects/…/models/ID@VERSION`. (templated)
    :param expected_champion: name of the model in use, empty if no model is in use. If another model is in use by now,
        the task fails and changes nothing. Not checked if not set. (templated)
    """

    template_fields: Sequence[str] = (*ChampionOperator.template_fields, "model", "expected_champion")

    def __init__(self, *, model: str, expected_champion: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.expected_champion = expected_champion
        self._is_in_use = False

    def expected(self) -> str | None:
        # Without a model in use, the template is rendered as "None".
        return "" if self.expected_champion == "None" else self.expected_champion

    def own_version(self) -> ModelVersion:
        """The version to put into use.

        :raises ConfigurationError: another Airflow installation made it, or another version of the same Model
        """
        version = self.registry.get(self.model)
        for sibling in self.registry.versions_of("", self.model):
            require_own(sibling.name, sibling.labels, "model")
        return version

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage | None:
        """Lineage for Airflow's OpenLineage provider, which calls this method."""
        from vertex_tuning.lineage import promotion_lineage

        return promotion_lineage(self.model, self.tuning, self.champion_alias) if self._is_in_use else None

    def conclude(self, context: Context, current: CurrentModels, event: dict[str, Any]) -> PromotionResult:
        """The result after `self.model` was put into use, also as events of the model's asset."""
        in_use = self.describe(self.registry.get(self.model))
        self._is_in_use = True
        previous = current.previous.name if current.previous else None
        for asset in self.outlets:
            names = {"job": in_use.job, "model": in_use.model, "endpoint": in_use.endpoint}
            context["outlet_events"][asset].extra = {**event, **names}
        self.log.info("Now in use: %s", in_use.model)
        self.log.info("Answers at: %s", in_use.endpoint)
        self.log.info("Before it: %s", previous or "no model")
        return PromotionResult(**msgspec.structs.asdict(in_use), previous=previous)


class PromoteModelOperator(ReplaceChampionOperator):
    """Put a model into use: it gets the champion alias, and the model in use before gets the alias `previous`.

    The task changes only aliases and the default checkpoint, and may be repeated. The next promotion finishes an
    interrupted one. Of two promotions at the same time, the newer model stays in use, and the task of the other model
    fails. `expected_champion` is the model of the comparison. Further parameters: :class:`ReplaceChampionOperator`.

    :param checkpoint_id: checkpoint to put into use, which becomes the default of the model; if not set, the default
        stays. (templated)
    :param event_extra: further fields of the asset event, in addition to job, model and endpoint. (templated)
    """

    template_fields: Sequence[str] = (*ReplaceChampionOperator.template_fields, "checkpoint_id", "event_extra")
    template_fields_renderers = {"event_extra": "json"}

    def __init__(
        self, *, checkpoint_id: str | None = None, event_extra: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.checkpoint_id = checkpoint_id
        self.event_extra = event_extra

    def execute(self, context: Context) -> dict[str, Any]:
        version = self.own_version()
        if checkpoint := rendered(self.checkpoint_id):
            # A model that is not put into use keeps its default checkpoint.
            self.aliases.promotable(self.model, self.expected())
            self.registry.set_default_checkpoint(version, checkpoint)
        # The endpoint is searched before the aliases change: a model without an endpoint is not put into use.
        self.registry.endpoint_of(version)
        current = self.aliases.promote(self.model, self.expected())
        return self.conclude(context, current, self.event_extra or {}).as_xcom()


class RollbackOperator(ReplaceChampionOperator):
    """Put the previous model into use again.

    The model in use until now gets the alias `rolled-back` and is not promoted again automatically. Afterwards there is
    no previous model, so that a second rollback does not restore it.

    Parameters: see :class:`ReplaceChampionOperator`. `model` is the previous model, which should have passed its smoke
    test in this run. `expected_champion` is the model to take out of use.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        self.own_version()
        current = self.aliases.roll_back(self.model, self.expected())
        event = {"verdict": "rolled back", "rolled_back": self.expected_champion}
        promoted = self.conclude(context, current, event)
        result = RollbackResult(**msgspec.structs.asdict(promoted), rolled_back=self.expected_champion)
        return result.as_xcom()
