"""A request for a tuning job, checked as the service checks it.

Limits: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning. Wording of
refusals: github.com/GoogleCloudPlatform/generative-ai/issues/2081 for dataset URIs, else this project's.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..base_models import BaseModel, base_model, check_region
from ..errors import InvalidArgument, NotFound, bad_fields, bad_request
from ..names import canonical, location_of
from ..registry.service import RegistryService
from ..state import Resource
from ..vertex.labels import check_display_name, check_labels
from ..vertex.proto_json import snake
from .datasets import Method

MAX_EPOCHS: Final = 100
"""This project's limit; nothing is published."""
MAX_MULTIPLIER: Final = 100.0
"""This project's limit; nothing is published."""
DEFAULT_BETA: Final = 0.1
"""The middle of the recommended 0.01-0.5."""
_SPECS: Final[dict[str, Method]] = {
    "supervisedTuningSpec": "supervised",
    "preferenceOptimizationSpec": "preference",
}
_FOREIGN: Final = (
    "customBaseModel", "outputUri", "distillationSpec", "partnerModelTuningSpec", "reinforcementTuningSpec",
    "veoTuningSpec", "veoLoraTuningSpec", "fullFineTuningSpec",
)  # fmt: skip
_ADAPTERS: Final = {
    "ADAPTER_SIZE_ONE": 1,
    "ADAPTER_SIZE_TWO": 2,
    "ADAPTER_SIZE_FOUR": 4,
    "ADAPTER_SIZE_EIGHT": 8,
    "ADAPTER_SIZE_SIXTEEN": 16,
    "ADAPTER_SIZE_THIRTY_TWO": 32,
}


@dataclass(frozen=True)
class TuningSpec:
    """A checked request.

    :param field: name of the job's spec ("supervisedTuningSpec")
    :param epochs: None if the service chooses
    :param source: the model version to continue from, with its `checkpoint`
    """

    base: BaseModel
    method: Method
    field: str
    training_uri: str
    validation_uri: str | None
    epochs: int | None
    multiplier: float
    adapter: int
    beta: float
    last_checkpoint_only: bool
    source: str | None = None
    checkpoint: str | None = None

    @property
    def dataset_uris(self) -> dict[str, str]:
        """URIs by their field, in Google's dotted form."""
        prefix = f"tuning_job.{snake(self.field)}"
        uris = {f"{prefix}.training_dataset_uri": self.training_uri}
        return uris | ({f"{prefix}.validation_dataset_uri": self.validation_uri} if self.validation_uri else {})


def read_spec(job: Resource, parent: str, registry: RegistryService) -> TuningSpec:
    """Parse and check the specification of a tuning job.

    :param job: a TuningJob, as `proto_json.parse` returns it
    :raises ApiError: the service would refuse the request
    """
    foreign = [field for field in _FOREIGN if field in job]
    if foreign:
        raise _invalid(f"tuning_job.{snake(foreign[0])}", "is not supported for this base model.")
    base, source, checkpoint = _source(job, registry)
    check_region(base, location_of(parent))
    field = _one_of(job, _SPECS)
    spec = job[field]
    check_display_name(job.get("tunedModelDisplayName", ""), "tuning_job.tuned_model_display_name")
    check_labels(job.get("labels", {}), "tuning_job.labels")
    if field == "preferenceOptimizationSpec" and not base.preference:
        raise InvalidArgument(f"Preference tuning is not supported for base model {base.name}.")
    hyper, where = spec.get("hyperParameters", {}), f"tuning_job.{snake(field)}.hyper_parameters"
    _check_evaluation(spec)
    return TuningSpec(
        base=base,
        method=_SPECS[field],
        field=field,
        training_uri=_required(spec, "trainingDatasetUri", f"tuning_job.{snake(field)}"),
        validation_uri=spec.get("validationDatasetUri") or None,
        epochs=_epochs(hyper, where),
        multiplier=_multiplier(hyper, where),
        adapter=_adapter(hyper, where, base),
        beta=_beta(hyper, where),
        last_checkpoint_only=spec.get("exportLastCheckpointOnly", False),
        source=source,
        checkpoint=checkpoint,
    )


def _source(job: Resource, registry: RegistryService) -> tuple[BaseModel, str | None, str | None]:
    if _one_of(job, ("baseModel", "preTunedModel")) == "baseModel":
        return base_model(job["baseModel"]), None, None
    tuned = job["preTunedModel"]
    name = canonical(_required(tuned, "tunedModelName", "tuning_job.pre_tuned_model"))
    try:
        version = registry.version(name)
    except NotFound as error:
        raise NotFound(error.message) from None
    checkpoint = tuned.get("checkpointId") or version.get("defaultCheckpointId")
    full_name = f"{version['name']}@{version['versionId']}"
    registry.weights(full_name, checkpoint)
    return base_model(version["baseModelSource"]["genieSource"]["baseModelUri"]), full_name, checkpoint


def _one_of(job: Resource, fields: Iterable[str]) -> str:
    present = [field for field in fields if job.get(field)]
    names = ", ".join(f"tuning_job.{snake(field)}" for field in fields)
    if len(present) != 1:
        raise InvalidArgument(f"Exactly one of {names} must be set, but {len(present)} are.")
    return present[0]


def _required(message: Resource, field: str, where: str) -> str:
    value = message.get(field)
    if not value:
        raise _invalid(f"{where}.{snake(field)}", "is required.")
    return str(value)


def _invalid(field: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {why}", details=[bad_request(field, why)])


def _check_evaluation(spec: Resource) -> None:
    config = spec.get("evaluationConfig")
    if config is not None and not (config.get("metrics") and config.get("outputConfig")):
        raise _invalid("tuning_job.supervised_tuning_spec.evaluation_config", "needs metrics and output_config.")


def _epochs(hyper: Resource, where: str) -> int | None:
    if "epochCount" not in hyper:
        return None
    epochs = int(hyper["epochCount"])
    if not 1 <= epochs <= MAX_EPOCHS:
        raise _invalid(f"{where}.epoch_count", f"must be between 1 and {MAX_EPOCHS}, but was {epochs}.")
    return epochs


def _multiplier(hyper: Resource, where: str) -> float:
    for field in ("learningRate", "batchSize"):
        if field in hyper:
            raise _invalid(f"{where}.{snake(field)}", "is only available for open source models.")
    multiplier = float(hyper.get("learningRateMultiplier", 1.0))
    if not 0 < multiplier <= MAX_MULTIPLIER:
        raise _invalid(f"{where}.learning_rate_multiplier", f"must be over 0 and at most {MAX_MULTIPLIER:g}.")
    return multiplier


def _adapter(hyper: Resource, where: str, base: BaseModel) -> int:
    name = hyper.get("adapterSize", "ADAPTER_SIZE_UNSPECIFIED")
    size = _ADAPTERS.get(name, base.default_adapter)
    if size not in base.adapters:
        known = ", ".join(adapter_name(size) for size in base.adapters)
        raise _invalid(f"{where}.adapter_size", f"{name} is not supported for {base.name}. Supported: {known}.")
    return size


def _beta(hyper: Resource, where: str) -> float:
    beta = float(hyper.get("beta", DEFAULT_BETA))
    if not 0 < beta <= 1:
        raise _invalid(f"{where}.beta", f"must be over 0 and at most 1, but was {beta:g}.")
    return beta


def adapter_name(size: int) -> str:
    """`ADAPTER_SIZE_FOUR` of 4."""
    return next(name for name, number in _ADAPTERS.items() if number == size)


def automatic_epochs(rows: int) -> int:
    """The number of epochs if the request has none: about 5,000 examples in all, at least 1 and at most 40 epochs.

    This fits one real job (500 rows, 10 epochs). The service's rule is not published.
    """
    return max(1, min(40, round(5000 / rows)))


def check_uris(spec: TuningSpec, missing: set[str]) -> None:
    """Check the URIs of the datasets.

    :param missing: the URIs whose object does not exist
    :raises InvalidArgument: dataset URIs are wrong; the message lists them, as the service does
    """
    problems = {field: _uri_problem(uri, missing) for field, uri in spec.dataset_uris.items()}
    wrong = {field: why for field, why in problems.items() if why}
    if wrong:
        listed = "\t".join(f"{i}.Field: {field}; Message: {why}" for i, (field, why) in enumerate(wrong.items(), 1))
        raise InvalidArgument(f"List of found errors:\t{listed}\t", details=[bad_fields(wrong.items())])


def _uri_problem(uri: str, missing: set[str]) -> str:
    if not is_jsonl(uri):
        return f"{uri[:1000]} should be a GCS object of type JSONL."
    return f"{uri[:1000]} does not exist, or cannot be read." if uri in missing else ""


def is_jsonl(uri: str) -> bool:
    """Whether a URI names a `.jsonl` object in Cloud Storage."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return uri.startswith("gs://") and bool(bucket) and name.endswith(".jsonl") and name != ".jsonl"


def echo(job: Resource, spec: TuningSpec, epochs: int) -> Resource:
    """The request's fields as the service returns them, with the values that it resolved."""
    hyper = {
        "epochCount": str(epochs),
        "learningRateMultiplier": spec.multiplier,
        "adapterSize": adapter_name(spec.adapter),
    } | ({"beta": spec.beta} if spec.method == "preference" else {})
    made: Resource = {
        key: job[key] for key in ("description", "labels", "encryptionSpec", "serviceAccount") if key in job
    }
    if spec.source:
        source = {"tunedModelName": spec.source, "baseModel": spec.base.name}
        made["preTunedModel"] = source | ({"checkpointId": spec.checkpoint} if spec.checkpoint else {})
    else:
        made["baseModel"] = job["baseModel"]
    return made | {spec.field: job[spec.field] | {"hyperParameters": hyper}}


def default_display_name(spec: TuningSpec) -> str:
    """`<base model>-<uuid>`, as a real job without a name."""
    return f"{spec.base.name}-{uuid.uuid4()}"
