"""Which model of a recurring tuning is in use, by the aliases of the Model Registry. Pure: no Airflow, no network.

Each tuning job makes a new Model, and an alias belongs to one version of *one* Model. The registry therefore allows two
Models with the alias `champion`, and no call moves an alias between Models. A promotion works in three steps:

1. It marks the old version with `outgoing` (a rollback: `rolled-back`).
2. It gives `champion` to the new version.
3. It takes `champion` from the old version.

At every moment some version has `champion`, and the mark decides between two. All readers apply the same rules
(`champion_of`, `settlement`), also to the state that a killed run leaves.

People change aliases, too. A single champion is the model in use. Where the aliases allow two readings, `doubt` names
the models and the way out, and nothing is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError, VertexUnavailableError
from vertex_tuning.resources.resource_names import ResourceName
from vertex_tuning.text.plain_text import plain

BASE_MODEL_LABEL: Final = "google-vertex-llm-tuning-base-model-id"
"""Label that Vertex AI gives a tuned model: its base model."""
TUNING_LABEL: Final = "airflow-tuning"
"""Label of a job and of its model: the name of the recurring tuning."""

JOB_LABEL: Final = "google-vertex-llm-tuning-job-id"
"""Label that the service sets on every tuned model."""

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
"""The model that was in use before. A rollback puts it into use again."""
OUTGOING: Final = "outgoing"
"""Was in use when the promotion of another model began."""
ROLLED_BACK: Final = "rolled-back"
"""Was taken out of use by a rollback. It is never promoted automatically again."""

_ALIAS: Final = re.compile(r"[a-z][a-z0-9-]{0,126}[a-z0-9]")
"""By the guide's page on model aliases, which is stricter than the API."""

ANSWER_SHOWN: Final = 300
"""Characters of an unreadable response that a message quotes."""


class _Deployed(msgspec.Struct):
    endpoint: str


class _Answer(msgspec.Struct, rename="camel"):
    """The fields of a Model resource that are read."""

    name: str
    version_id: str
    version_create_time: str
    version_update_time: str | None = None
    version_aliases: list[str] = msgspec.field(default_factory=list)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    deployed_models: list[_Deployed] = msgspec.field(default_factory=list)
    default_checkpoint_id: str = ""


class ModelVersion(msgspec.Struct, frozen=True):
    """A version of a model.

    :param name: `projects/…/locations/…/models/ID@VERSION`
    :param created: creation time of this version
    :param aliases: `champion`, `previous`, `outgoing`, `rolled-back` and aliases of other tools
    :param labels: labels of this version
    :param endpoints: endpoints that serve it; each of its checkpoints may have one
    :param updated: last change of this version, e.g. of its aliases; None if the service does not say
    :param checkpoint_id: the checkpoint that is used by default; empty if it has none
    """

    name: str
    created: datetime
    aliases: frozenset[str] = frozenset()
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    endpoints: tuple[str, ...] = ()
    updated: datetime | None = None
    checkpoint_id: str = ""

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> ModelVersion:
        """Read a Model resource, with or without a version in its name.

        :raises VertexUnavailableError: name, version or creation time is missing, or a field has the wrong type
        """
        try:
            given = msgspec.convert(answer, _Answer)
            name = ResourceName.parse(f"{given.name.partition('@')[0]}@{given.version_id}", "models")
            created = _time(given.version_create_time)
            updated = _time(given.version_update_time) if given.version_update_time else None
        except (ConfigurationError, ValueError, OverflowError) as error:
            raise VertexUnavailableError(
                f"The Model Registry answered {plain(json.dumps(answer), ANSWER_SHOWN)}, expected a model with name, "
                f"versionId and versionCreateTime. {error} Check this model in the Model Registry."
            ) from error
        return cls(
            name=str(name),
            created=created,
            aliases=frozenset(given.version_aliases),
            labels=given.labels,
            endpoints=tuple(deployed.endpoint for deployed in given.deployed_models),
            updated=updated,
            checkpoint_id=given.default_checkpoint_id,
        )

    @property
    def model(self) -> str:
        """Name of the Model, without the version."""
        return self.name.partition("@")[0]

    @property
    def job_name(self) -> str | None:
        """The tuning job that made this version; None if no tuning job made it."""
        job = self.labels.get(JOB_LABEL)
        return f"{self.model.partition('/models/')[0]}/tuningJobs/{job}" if job else None

    @property
    def is_leaving(self) -> bool:
        return bool(self.aliases & {OUTGOING, ROLLED_BACK})

    @property
    def age_rank(self) -> tuple[datetime, str]:
        """Sort key, oldest version first. All readers get the same order."""
        return self.created, self.name


def check_alias(alias: str) -> str:
    """Return an alias that can mark the model in use.

    :raises ConfigurationError: the alias has the wrong form or another meaning
    """
    if not _ALIAS.fullmatch(alias) or alias in {"default", PREVIOUS, OUTGOING, ROLLED_BACK}:
        raise ConfigurationError(
            f"champion_alias: found {alias!r}, expected 2 to 128 lower-case letters, digits and -, beginning with a "
            f"letter; not default, {PREVIOUS}, {OUTGOING} or {ROLLED_BACK}, which mean something else."
        )
    return alias


def doubt(versions: Iterable[ModelVersion], alias: str = CHAMPION, *, in_rollback: bool = False) -> str:
    """Explain why the aliases do not tell which model is in use, and the way out; empty when they do.

    :param versions: all versions of the tuning
    :param alias: alias of the model in use
    :param in_rollback: check what a rollback needs: one clear previous model; an unfinished rollback is no doubt
    """
    versions = list(versions)
    holders = [version for version in versions if alias in version.aliases]
    staying = [version for version in holders if not version.is_leaving]
    rolled_back = [version for version in holders if ROLLED_BACK in version.aliases]
    if not holders:
        return _doubt_without_champion(versions, alias)
    if len(staying) > 1 or (not staying and len(holders) > 1):
        return (
            f"{_names(staying or holders)} all have the alias {alias!r}, so it is not clear which model is in use. "
            f"Take the alias from all but the model in use, in the Model Registry."
        )
    if rolled_back and not staying and not in_rollback:
        return (
            f"A rollback was begun and not finished: {_names(rolled_back)} has the alias {ROLLED_BACK!r} and still "
            f"the alias {alias!r}. Run the rollback again to finish it, or take the alias {ROLLED_BACK!r} from the "
            "model in the Model Registry to keep it in use."
        )
    return _doubt_about_previous(versions, alias) if in_rollback else ""


def _doubt_without_champion(versions: Iterable[ModelVersion], alias: str) -> str:
    left = [version for version in versions if version.aliases & {PREVIOUS, OUTGOING}]
    if not left:
        return ""
    marks = ", ".join(sorted(set().union(*(version.aliases for version in left)) & {PREVIOUS, OUTGOING}))
    return (
        f"No model has the alias {alias!r}, but {_names(left)} has {marks!r}, so it is not clear which model is in "
        f"use. In the Model Registry, give {alias!r} to the model in use. If none is to be in use, take {marks!r} away."
    )


def _doubt_about_previous(versions: list[ModelVersion], alias: str) -> str:
    """An interrupted promotion leaves one `previous` and one `outgoing`; only a person makes several."""
    champion = champion_of(versions, alias)
    tagged = [version for version in versions if PREVIOUS in version.aliases and version != champion]
    if len(tagged) < 2 or any(OUTGOING in version.aliases for version in versions):
        return ""
    return (
        f"{_names(tagged)} all have the alias {PREVIOUS!r}, so it is not clear which model a rollback goes back to. "
        "Take the alias from all but that model, in the Model Registry."
    )


def _names(versions: Iterable[ModelVersion]) -> str:
    return " and ".join(sorted(version.name for version in versions))


def champion_of(versions: Iterable[ModelVersion], alias: str = CHAMPION) -> ModelVersion | None:
    """The model in use, provided that `doubt` finds nothing.

    During promotions several versions can have the alias. Versions that are not marked as leaving come first, then the
    newest. If no version has it, two promotions took it from each other's model: the previous model is in use.
    """
    versions = list(versions)
    holders = [version for version in versions if alias in version.aliases]
    if holders:
        return max(holders, key=lambda version: (not version.is_leaving, version.age_rank))
    return _newest(version for version in versions if PREVIOUS in version.aliases)


def previous_of(versions: Iterable[ModelVersion], alias: str = CHAMPION) -> ModelVersion | None:
    """The model that the champion replaced. A rollback puts it into use again."""
    versions = list(versions)
    champion = champion_of(versions, alias)
    others = [version for version in versions if version != champion and ROLLED_BACK not in version.aliases]
    replaced = [version for version in others if OUTGOING in version.aliases]
    tagged = [version for version in others if PREVIOUS in version.aliases]
    # An unmarked holder lost against a simultaneous promotion: the last choice, because it was hardly in use.
    return _newest(replaced) or _newest(tagged) or _newest(version for version in others if alias in version.aliases)


def settlement(versions: Iterable[ModelVersion], alias: str = CHAMPION) -> dict[str, list[str]]:
    """Alias changes that leave one champion and at most one previous model.

    :returns: version name and the aliases for `mergeVersionAliases`, in the order of the calls; empty when settled
    """
    versions = list(versions)
    champion, previous = champion_of(versions, alias), previous_of(versions, alias)
    changes: dict[str, list[str]] = {}
    for version in versions:
        wanted = {alias} if version == champion else {PREVIOUS} if version == previous else set[str]()
        # The champion keeps its mark: the run that set it is about to promote another model.
        managed = {alias, PREVIOUS} if version == champion else {alias, PREVIOUS, OUTGOING}
        removed = sorted(f"-{name}" for name in version.aliases & managed - wanted)
        added = sorted(wanted - version.aliases)
        if removed or added:
            changes[version.name] = [*added, *removed]
    # Additions come last: they move the alias within a Model, where the other version must not lose it again.
    return dict(sorted(changes.items(), key=lambda change: not change[1][0].startswith("-")))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _newest(versions: Iterable[ModelVersion]) -> ModelVersion | None:
    return max(versions, key=lambda version: version.age_rank, default=None)
