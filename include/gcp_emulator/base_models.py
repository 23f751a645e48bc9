"""The base models that can be tuned, and their limits.

Sources: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning (limits,
2026-08), the region page of the 2.x generation, and models/model-versions for retirements. Default adapter sizes are
those of real jobs (1.5 Pro four, 1.5 Flash eight, 3.1 Flash-Lite two); four for the others is our choice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from .errors import FailedPrecondition, InvalidArgument

log = logging.getLogger(__name__)

MAX_EXAMPLE_TOKENS = 131_072
"""Tokens per training example, input and output together."""

_REGIONS = """asia-east1 asia-east2 asia-northeast1 asia-northeast3 asia-south1 asia-southeast1 australia-southeast1
europe-central2 europe-north1 europe-southwest1 europe-west1 europe-west2 europe-west3 europe-west4 europe-west6
europe-west8 europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1 southamerica-east1
us-central1 us-east1 us-east4 us-east5 us-south1 us-west1 us-west4"""
_EVERYWHERE = frozenset(_REGIONS.split())
_TWO_REGIONS = frozenset({"us-central1", "europe-west4"})


@dataclass(frozen=True)
class BaseModel:
    """A base model of the service and its limits for tuning.

    :param adapters: adapter sizes that the model accepts
    :param regions: regions that tune it
    :param multi_region: whether tuned models of it serve from `us` or `eu` only
    :param preference: whether it supports preference tuning
    :param retired: whether Google offers it no longer; the emulator still accepts it, so that old guides run
    """

    name: str
    adapters: tuple[int, ...]
    default_adapter: int = 4
    regions: frozenset[str] = _EVERYWHERE
    multi_region: bool = False
    preference: bool = False
    retired: bool = False

    def serving_location(self, region: str) -> str:
        """The location of endpoints of a model tuned in `region`: the region itself, or its multi-region."""
        return region.split("-")[0].replace("europe", "eu") if self.multi_region else region


_TO_SIXTEEN = (1, 2, 4, 8, 16)
_TO_EIGHT = (1, 2, 4, 8)

BASE_MODELS = {
    model.name: model
    for model in (
        BaseModel("gemini-3.5-flash", _TO_SIXTEEN, regions=_TWO_REGIONS, multi_region=True),
        BaseModel("gemini-3.5-flash-lite", _TO_SIXTEEN, regions=_TWO_REGIONS, multi_region=True),
        BaseModel("gemini-3.1-flash-lite", _TO_SIXTEEN, 2, regions=_TWO_REGIONS, multi_region=True),
        BaseModel("gemini-2.5-pro", _TO_EIGHT),
        BaseModel("gemini-2.5-flash", _TO_SIXTEEN, preference=True),
        BaseModel("gemini-2.5-flash-lite", _TO_SIXTEEN, preference=True),
        BaseModel("gemini-2.0-flash-001", _TO_EIGHT, retired=True),
        BaseModel("gemini-2.0-flash-lite-001", _TO_EIGHT, retired=True),
        BaseModel("gemini-1.5-pro-002", _TO_EIGHT, retired=True),
        BaseModel("gemini-1.5-flash-002", _TO_EIGHT, 8, retired=True),
        BaseModel("gemini-1.0-pro-002", _TO_EIGHT, retired=True),
    )
}


def base_model(name: str) -> BaseModel:
    """The model of that name, also as `publishers/google/models/NAME`.

    :raises InvalidArgument: no such model exists
    """
    model = BASE_MODELS.get(name.removeprefix("publishers/google/models/"))
    if model is None:
        raise InvalidArgument(f"Base model {name} is not supported.")
    if model.retired:
        log.warning("base model %s is retired; the service would refuse it", model.name)
    return model


def check_region(model: BaseModel, region: str) -> None:
    """Check that a base model can be tuned in a region.

    :raises FailedPrecondition: when the model cannot be tuned there
    """
    if region == "global":
        raise FailedPrecondition("Tuning is not supported on the global endpoint. Use a regional endpoint.")
    if region not in model.regions:
        allowed = ", ".join(sorted(model.regions))
        raise FailedPrecondition(
            f"Tuning of {model.name} is not supported in location {region}. Supported locations: {allowed}."
        )
