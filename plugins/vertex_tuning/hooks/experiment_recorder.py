"""Record runs in Vertex AI Experiments, where Google's console compares them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from google.api_core.exceptions import Conflict, GoogleAPICallError

from vertex_tuning.hooks.errors import vertex_errors

if TYPE_CHECKING:
    from vertex_tuning.hooks.connection import GoogleConnection


class ExperimentRecorder(BaseHook):
    """Writes runs of experiments by the client's `ExperimentRun`.

    The client is imported at the first run: it takes several seconds. It has no TensorBoard, which would have a price.

    :param connection: connection in the location of the experiment
    """

    def __init__(self, connection: GoogleConnection) -> None:
        super().__init__()
        self.connection = connection

    def record_run(
        self,
        experiment: str,
        run: str,
        *,
        params: Mapping[str, str | float],
        values: Mapping[str, str | float],
        failed: bool = False,
    ) -> str:
        """Record a run, and create its experiment if it is missing. A second call for the run changes it.

        :param experiment: id of the experiment, see :func:`~vertex_tuning.resources.experiment_ids.experiment_id`
        :param run: id of the run in the experiment
        :param params: what the run was started with
        :param values: how the run ended
        :param failed: whether the state of the run is FAILED, not COMPLETE
        :returns: resource name of the experiment
        :raises TuningError: the run is not recorded, or only in part
        """
        with vertex_errors(f"recording {run} in the experiment {experiment}"), _wrapped_errors(), self._sdk() as sdk:
            parent = _experiment(sdk, experiment)
            recorded = _run(sdk, parent, run)
            recorded.log_params(dict(params))
            recorded.log_metrics(dict(values))
            state = sdk.gapic.Execution.State.FAILED if failed else sdk.gapic.Execution.State.COMPLETE
            recorded.update_state(state)
            return str(parent.resource_name)

    @contextmanager
    def _sdk(self) -> Iterator[Any]:
        """The client with the settings of the connection. It has one set of settings, which is put back afterwards."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the client's own dependencies, at the import
            from google.cloud import aiplatform
            from google.cloud.aiplatform import initializer

        before = dict(vars(initializer.global_config))
        try:
            aiplatform.init(
                project=self.connection.project,
                location=self.connection.location,
                credentials=self.connection.get_credentials(),
                api_endpoint=self.connection.endpoint(self.connection.location),
                api_transport="rest",
            )
            yield aiplatform
        finally:
            vars(initializer.global_config).update(before)


@contextmanager
def _wrapped_errors() -> Iterator[None]:
    """Raise the service's error where the client puts a RuntimeError around it."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, GoogleAPICallError):
            raise error.__cause__ from None
        raise ValueError(str(error)) from None


def _experiment(sdk: Any, name: str) -> Any:
    try:
        return sdk.Experiment.get_or_create(name)
    except Conflict:  # another run has created it at the same moment
        return sdk.Experiment(name)


def _run(sdk: Any, experiment: Any, name: str) -> Any:
    """The run, created or, if an earlier attempt has created it, found."""
    try:
        return sdk.ExperimentRun.create(name, experiment=experiment)
    except Conflict:
        run = sdk.ExperimentRun(name, experiment=experiment)
    # The earlier attempt may have been killed before this step; a run that belongs to the experiment is skipped.
    sdk.Context(experiment.resource_name).add_context_children([sdk.Context(run.resource_name)])
    return run
