"""Which model of a recurring tuning is in use, as aliases of the Model Registry say it. Pure: no Airflow, no network.

Every tuning of a base model makes a Model of its own, and an alias is on one version of *one* Model, so nothing in the
registry keeps two Models from both having a champion, and no call moves an alias from one to the other. Therefore

* a version about to be replaced is marked first (`outgoing`, or `rolled-back`), then the new one gets the champion's
  alias, then the old one loses it: at every moment some version has it, and the mark says which of two is meant;
* whoever looks decides by the same rules (`champion_of`, `settlement`), whatever state a killed run left behind.

People change aliases, too. One champion is the model in use, whoever gave it the alias. What a person may have meant in
more than one way is not settled: `doubt` names the models and what to do, and nothing is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError, VertexUnavailableError
from vertex_tuning.plain_text import plain
from vertex_tuning.resource_names import ResourceName

TUNING_LABEL: Final = "airflow-tuning"
"""On a job, and so on its model: the name of the recurring tuning it belongs to."""

JOB_LABEL: Final = "google-vertex-llm-tuning-job-id"
"""On every tuned model, set by the service."""

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
"""The one that was in use before; what a rollback goes back to."""
OUTGOING: Final = "outgoing"
"""Was in use when the promotion of another began."""
ROLLED_BACK: Final = "rolled-back"
"""Was in use and found wanting; is never promoted again by itself."""

_ALIAS: Final = re.compile(r"[a-z][a-z0-9-]{0,126}[a-z0-9]")
"""The guide's page on model aliases, which is stricter than the API's own grammar."""

ANSWER_SHOWN: Final = 300
"""Characters of an answer that cannot be read."""


class _Deployed(msgspec.Struct):
    endpoint: str


class _Answer(msgspec.Struct, rename="camel"):
    """What is read of a Model of the REST interface."""

    name: str
    version_id: str
    version_create_time: str
    version_aliases: list[str] = msgspec.field(default_factory=list)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    deployed_models: list[_Deployed] = msgspec.field(default_factory=list)


class ModelVersion(msgspec.Struct, frozen=True):
    """A version of a model.

    :param name: `projects/…/locations/…/models/ID@VERSION`
    :param created: when this version was
    :param endpoints: those it is deployed to; each of its checkpoints may have one
    """

    name: str
    created: datetime
    aliases: frozenset[str] = frozenset()
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    endpoints: tuple[str, ...] = ()

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> ModelVersion:
        """Read a Model as the REST interface answers it; its name has the version in it or not.

        :raises VertexUnavailableError: name, version or date are missing, or anything else is not what it should be
        """
        try:
            given = msgspec.convert(answer, _Answer)
            name = ResourceName.parse(f"{given.name.partition('@')[0]}@{given.version_id}", "models")
            created = datetime.fromisoformat(given.version_create_time).astimezone(UTC)
        except (ConfigurationError, ValueError, OverflowError) as error:
            raise VertexUnavailableError(
                f"The Model Registry answered {plain(json.dumps(answer), ANSWER_SHOWN)}, expected a model with name, "
                f"versionId and versionCreateTime. {error} Look at this model in the Model Registry."
            ) from error
        return cls(
            name=str(name),
            created=created,
            aliases=frozenset(given.version_aliases),
            labels=given.labels,
            endpoints=tuple(deployed.endpoint for deployed in given.deployed_models),
        )

    @property
    def model(self) -> str:
        """The Model it is a version of."""
        return self.name.partition("@")[0]

    @property
    def job_name(self) -> str | None:
        """The tuning job that made it; None for a model that was made otherwise."""
        job = self.labels.get(JOB_LABEL)
        return f"{self.model.partition('/models/')[0]}/tuningJobs/{job}" if job else None

    @property
    def is_leaving(self) -> bool:
        return bool(self.aliases & {OUTGOING, ROLLED_BACK})

    @property
    def age_rank(self) -> tuple[datetime, str]:
        """Sorts versions from the oldest on, the same way for everyone who looks."""
        return self.created, self.name


def check_alias(alias: str) -> str:
    """
    :raises ConfigurationError: when an alias cannot mark the model in use
    """
    if not _ALIAS.fullmatch(alias) or alias in {"default", PREVIOUS, OUTGOING, ROLLED_BACK}:
        raise ConfigurationError(
            f"champion_alias: found {alias!r}, expected 2 to 128 lower-case letters, digits and -, beginning with a "
            f"letter; not default, {PREVIOUS}, {OUTGOING} or {ROLLED_BACK}, which mean something else."
        )
    return alias


def doubt(versions: Iterable[ModelVersion], alias: str = CHAMPION, *, in_rollback: bool = False) -> str:
    """Why nobody can tell which model is in use, and what a person can do; empty when the aliases are clear.

    :param in_rollback: for a rollback: whether it is clear what it goes back to; that one was begun and not finished
        is then no doubt
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
    """A promotion cut off leaves one `previous` beside one `outgoing`; several are a person's work."""
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
    """The one in use, as far as there is no `doubt`.

    While several promotions are at work: of several that have the alias, one that is not about to leave, and of those
    the newest. When none has it, the previous one: two promotions took the alias from each other's model.
    """
    versions = list(versions)
    holders = [version for version in versions if alias in version.aliases]
    if holders:
        return max(holders, key=lambda version: (not version.is_leaving, version.age_rank))
    return _newest(version for version in versions if PREVIOUS in version.aliases)


def previous_of(versions: Iterable[ModelVersion], alias: str = CHAMPION) -> ModelVersion | None:
    """The one a rollback goes back to: the one the champion replaced."""
    versions = list(versions)
    champion = champion_of(versions, alias)
    others = [version for version in versions if version != champion and ROLLED_BACK not in version.aliases]
    replaced = [version for version in others if OUTGOING in version.aliases]
    tagged = [version for version in others if PREVIOUS in version.aliases]
    # An unmarked holder lost against one promoted at the same moment: the last choice, for it was hardly ever in use.
    return _newest(replaced) or _newest(tagged) or _newest(version for version in others if alias in version.aliases)


def settlement(versions: Iterable[ModelVersion], alias: str = CHAMPION) -> dict[str, list[str]]:
    """What is left to be changed until one version is champion and one at most is previous.

    :returns: by version, in this order, what `mergeVersionAliases` takes; empty when all is settled
    """
    versions = list(versions)
    champion, previous = champion_of(versions, alias), previous_of(versions, alias)
    changes: dict[str, list[str]] = {}
    for version in versions:
        wanted = {alias} if version == champion else {PREVIOUS} if version == previous else set[str]()
        # A champion's mark stays: whoever set it is about to promote another.
        managed = {alias, PREVIOUS} if version == champion else {alias, PREVIOUS, OUTGOING}
        removed = sorted(f"-{name}" for name in version.aliases & managed - wanted)
        added = sorted(wanted - version.aliases)
        if removed or added:
            changes[version.name] = [*added, *removed]
    # Additions come last: they move the alias off another version of the same Model, where it must be removed no more.
    return dict(sorted(changes.items(), key=lambda change: not change[1][0].startswith("-")))


def _newest(versions: Iterable[ModelVersion]) -> ModelVersion | None:
    return max(versions, key=lambda version: version.age_rank, default=None)
