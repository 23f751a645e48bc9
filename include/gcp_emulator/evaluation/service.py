"""EvaluationService: `:evaluateInstances`.

A request has one of the inputs of the older form (`rougeInput`, `pairwiseMetricInput`…), or the newer `metrics` with an
`instance`. An error of one of the `metrics` is in its result; any other refuses the request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ..errors import ApiError, FailedPrecondition, InvalidArgument, Unimplemented
from ..state import Resource
from ..vertex.rest import location_route, read, reply
from . import computed, judge
from .judge import Material

Computed = Callable[[Resource, str, str], float]

_COMPUTED: Final[dict[str, Computed]] = {
    "exactMatch": computed.exact_match,
    "bleu": computed.bleu,
    "rouge": computed.rouge,
}
_JUDGED: Final[dict[str, Callable[[Resource, Resource], Resource]]] = {
    "pointwiseMetric": judge.pointwise,
    "pairwiseMetric": judge.pairwise,
}
_EVERYWHERE: Final = frozenset(
    {
        "general_quality_v1", "text_quality_v1", "instruction_following_v1", "safety_v1", "grounding_v1",
        "final_response_match_v2", "final_response_reference_free_v1", "final_response_quality_v1",
    }
)  # fmt: skip
"""Predefined metrics of every region."""
_NEWER: Final = frozenset(
    {
        "general_quality_v2", "text_quality_v2", "instruction_following_v2", "safety_v3", "grounding_v2",
        "final_response_match_v3", "final_response_reference_free_v2", "final_response_quality_v2",
    }
)  # fmt: skip
"""Predefined metrics that a newer model judges, which not every region has.

Source: comments on `METRIC_LATEST_SPEC_NAME` in google-cloud-aiplatform 2.7.0, agentplatform/_genai/_evals_constant.py.
"""
_WITHOUT_NEWER: Final = frozenset({"us-central1"})
_NEED_REFERENCE: Final = ("final_response_match", "exactMatchSpec", "bleuSpec", "rougeSpec")


class EvaluationService:
    """Scores responses; it keeps nothing."""

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            location_route("POST", ":evaluateInstances", self.evaluate_instances, "evaluateInstances"),
            # The path of google-genai's client, on which agentplatform's is built.
            location_route("POST", "/:evaluateInstances", self.evaluate_instances, "evaluateInstances"),
        ]

    async def evaluate_instances(self, request: Request) -> Response:
        body = await read(request, "EvaluateInstancesRequest")
        result = await anyio.to_thread.run_sync(evaluate, body, request.path_params["location"])
        return reply(request, "EvaluateInstancesResponse", result)


def evaluate(request: Resource, location: str) -> Resource:
    """Score the instances of an EvaluateInstancesRequest.

    :raises InvalidArgument: the request has no input, several, or one that cannot be scored
    :raises Unimplemented: the emulator does not have the metric
    """
    inputs = [name for name in request if name.endswith("Input")]
    if len(inputs) + ("metrics" in request) != 1:
        raise InvalidArgument("Exactly one metric input, or metrics with an instance, must be set.")
    if "metrics" in request:
        instance, anywhere = request.get("instance", {}), request.get("allowCrossRegionModel", False)
        metrics = [_metric_result(metric, instance, "" if anywhere else location) for metric in request["metrics"]]
        return {"metricResults": metrics}
    name = inputs[0].removesuffix("Input")
    if name in _COMPUTED:
        return {f"{name}Results": {f"{name}MetricValues": _computed_values(name, request[inputs[0]])}}
    if name in _JUDGED:
        given = request[inputs[0]]
        return {f"{name}Result": _JUDGED[name](given.get("metricSpec", {}), given.get("instance", {}))}
    raise Unimplemented(f"The emulator has no {inputs[0]}.")


def _computed_values(name: str, given: Resource) -> list[Resource]:
    instances = given.get("instances", [])
    if not instances:
        raise InvalidArgument(f"{name}_input.instances must not be empty.")
    score, spec = _COMPUTED[name], given.get("metricSpec", {})
    return [{"score": score(spec, item.get("prediction", ""), item.get("reference", ""))} for item in instances]


def _metric_result(metric: Resource, instance: Resource, location: str) -> Resource:
    try:
        return _scored(metric, instance, location)
    except ApiError as error:
        return {"error": error.rpc_status()}


def _scored(metric: Resource, instance: Resource, location: str) -> Resource:
    kinds = [name for name in metric if name.endswith("Spec")]
    if len(kinds) != 1:
        raise InvalidArgument("A metric must have exactly one spec.")
    kind, spec = kinds[0], metric[kinds[0]]
    response, material = judge.text_of_data(instance.get("response")), _material(instance)
    name = spec.get("metricSpecName", kind)
    if not instance.get("response"):
        raise InvalidArgument("instance.response must be set.")
    if name.startswith(_NEED_REFERENCE) and not material.reference:
        raise InvalidArgument(f"instance.reference must be set for {name}.")
    if kind == "predefinedMetricSpec":
        return _predefined(name, material, response, location)
    if kind == "llmBasedMetricSpec":
        judge.check_template(spec.get("metricPromptTemplate", ""), _variables(instance))
        return judge.rate(material, response)
    if score := _COMPUTED.get(kind.removesuffix("Spec")):
        return {"score": score(spec, response, material.reference)}
    raise Unimplemented(f"The emulator has no {kind}.")


def _predefined(name: str, material: Material, response: str, location: str) -> Resource:
    if name not in _EVERYWHERE | _NEWER:
        raise InvalidArgument(f"Unsupported predefined metric: {name}.")
    if name in _NEWER and location in _WITHOUT_NEWER:
        raise FailedPrecondition(f"The judge model of {name} is not available in location {location}.")
    return judge.by_rubrics(material, response)


def _material(instance: Resource) -> Material:
    return Material(judge.text_of_data(instance.get("prompt")), judge.text_of_data(instance.get("reference")))


def _variables(instance: Resource) -> dict[str, Any]:
    """The values of an EvaluationInstance by the names of template variables."""
    return {**instance, **instance.get("otherData", {}).get("mapInstance", {})}
