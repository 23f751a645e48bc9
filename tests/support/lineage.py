"""Models of a recurring tuning, made in a moment: their jobs follow a script instead of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vertex_tuning.deployment import deployment_id
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL, TuningJob
from vertex_tuning.registry.aliases import TUNING_LABEL

from tests.support.google_cloud import LOCATION, spec
from tests.support.scripted_jobs import ended


def train(tuning: str, **fields: Any) -> TuningJob:
    """A job of a tuning that has succeeded."""
    hook = VertexTuningHook(GoogleConnection(location=LOCATION))
    job = hook.create_tuning_job(spec(**fields), {TUNING_LABEL: tuning, DEPLOYMENT_LABEL: deployment_id()})
    job = ended(hook, job.name)
    assert job.succeeded, job
    return job


def models(control: Callable[..., None], tuning: str, count: int, *, versions: bool = False) -> list[str]:
    """Names of models, oldest first.

    :param versions: as versions of one Model, tuned further from the first, which is trained for real
    """
    made = [_model(tuning, epoch_count=1)] if versions else []
    base = {"base_model": made[0]} if versions else {}
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[])
    return made + [_model(tuning, **base) for _ in range(count - len(made))]


def _model(tuning: str, **fields: Any) -> str:
    job = train(tuning, **fields)
    assert job.tuned_model
    return job.tuned_model.model


def aliases(tuning: str, *also: str) -> dict[str, list[str]]:
    """The aliases each model of a tuning has, but for the service's own `default`; those without are left out."""
    versions = RegistryHook(GoogleConnection(location=LOCATION)).versions_of(tuning, *also)
    found = {version.name: sorted(version.aliases - {"default"}) for version in versions}
    return {name: names for name, names in found.items() if names}
