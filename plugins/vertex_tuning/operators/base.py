"""Base classes of the operators: connection, project and location."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, XComArg

from vertex_tuning.datasets.manifest import run_key
from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs.spec import Origin
from vertex_tuning.links import ExperimentLink, TuningJobLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context
    from jinja2 import Environment

    from vertex_tuning.hooks.connection import GoogleConnection
    from vertex_tuning.hooks.experiments import ExperimentsHook
    from vertex_tuning.hooks.genai import VertexTuningHook
    from vertex_tuning.hooks.model_registry import RegistryHook
    from vertex_tuning.hooks.storage import StorageHook
    from vertex_tuning.jobs.job import TuningJob


class ResultReader(BaseOperator):
    """Base of tasks whose arguments are results of other tasks, as in `job_name=create.output["name"]`.

    A task that a person marked as success has no result. Without this base, Airflow would render None for it.
    """

    optional_results: ClassVar[frozenset[str]] = frozenset()
    """Arguments that may stay empty when the other task has no result."""

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        """Render the arguments, as Airflow does, and check that the other tasks have results.

        :raises ConfigurationError: names the task that has no result
        """
        arguments = [getattr(self, name) for name in self.template_fields if name not in self.optional_results]
        others = {other for other, _ in XComArg.iter_xcom_references(arguments)}
        super().render_template_fields(context, jinja_env)
        for other in others:
            # With multiple outputs, a task that ran has returned a mapping.
            if getattr(other, "multiple_outputs", False) and XComArg(other).resolve(context) is None:
                raise ConfigurationError(
                    f"{other.task_id} has no result; was it marked by hand? Clear it to run it again."
                )


class VertexOperator(ResultReader):
    """Base of the operators and of the sensor: a connection, a project and a location, all templated.

    Each field of a result is a separate XCom, which other tasks can use: `upload.output["training_uri"]`.

    :param location: Google Cloud location, e.g. `us-central1`.
    :param project_id: Google Cloud project; if not set, the project of the connection.
    :param gcp_conn_id: Airflow connection to Google Cloud.
    :param impersonation_chain: service account to impersonate, or a chain of accounts, as in Google's operators.
    """

    template_fields: Sequence[str] = ("location", "project_id", "gcp_conn_id", "impersonation_chain")

    def __init__(
        self,
        *,
        location: str = "us-central1",
        project_id: str | None = None,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.location = location
        self.project_id = project_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    @property
    def output(self) -> Any:
        """The result, as an argument of other tasks: `upload.output["training_uri"]`. Airflow's type has no fields."""
        return super().output

    # Hooks are imported where they are created: Google's libraries load for seconds, and DAG files are parsed often.

    @cached_property
    def connection(self) -> GoogleConnection:
        """The connection of all hooks of the task, so that it authenticates once."""
        from vertex_tuning.hooks.connection import GoogleConnection

        return GoogleConnection(**self._place())

    @cached_property
    def hook(self) -> VertexTuningHook:
        from vertex_tuning.hooks.genai import VertexTuningHook

        return VertexTuningHook(self.connection)

    @cached_property
    def storage(self) -> StorageHook:
        from vertex_tuning.hooks.storage import StorageHook

        return StorageHook(self.connection)

    @cached_property
    def experiments(self) -> ExperimentsHook:
        from vertex_tuning.hooks.experiments import ExperimentsHook

        return ExperimentsHook(self.connection)

    @cached_property
    def registry(self) -> RegistryHook:
        from vertex_tuning.hooks.model_registry import RegistryHook

        return RegistryHook(self.connection)

    def _place(self) -> dict[str, Any]:
        return {
            "location": self.location,
            "gcp_conn_id": self.gcp_conn_id,
            "impersonation_chain": self.impersonation_chain,
            "project_id": self.project_id,
        }


def task_states(context: Context, dag_id: str | None = None, run_id: str | None = None) -> dict[str, str | None]:
    """Airflow's states of the tasks of a run, by task id; for a mapped task, the id ends with the index."""
    ti: Any = context["ti"]
    run_id = run_id or ti.run_id
    states = ti.get_task_states(dag_id=dag_id or ti.dag_id, run_ids=[run_id]).get(run_id, {})
    return {task_id: state and str(getattr(state, "value", state)) for task_id, state in states.items()}


def key_of_run(context: Context) -> str:
    """The name of the folder of a run, and of its record: the same for all tasks of a retraining."""
    ti = context["ti"]
    return run_key(ti.dag_id, ti.run_id, ti.map_index, ti.task_id.rpartition(".")[0])


def instances_of(states: Mapping[str, str | None], task_id: str) -> dict[int, str | None]:
    """States of the instances of a mapped task, by map index; empty for a task that is not mapped.

    :param states: what `task_states` returns
    """
    found = {}
    for name, state in states.items():
        own, _, index = name.rpartition("_")
        if own == task_id and index.isdecimal():
            found[int(index)] = state
    return found


def origin_of(context: Context, task_id: str | None = None, map_index: int | None = None) -> Origin:
    """The task instance of a context, or another task instance of the same run.

    :raises ConfigurationError: the id of this Airflow installation is not known
    """
    ti = context["ti"]
    own = -1 if ti.map_index is None else ti.map_index
    index = own if map_index is None else map_index
    return Origin(deployment_id(), ti.dag_id, ti.run_id, task_id or ti.task_id, index)


class TuningJobOperator(VertexOperator):
    """Base of the operators that work on one tuning job.

    :param job_name: `projects/…/locations/…/tuningJobs/ID`. (templated)
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "job_name")
    operator_extra_links: Collection[BaseOperatorLink] = (TuningJobLink(), ExperimentLink())

    def __init__(self, *, job_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.job: TuningJob | None = None
