"""Writing the page that shows all of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pendulum

from vertex_tuning.datasets.manifests import run_key
from vertex_tuning.exceptions import TuningError
from vertex_tuning.links import ReportLink, local_url, object_url
from vertex_tuning.operators.base import NOT_GIVEN, VertexOperator, task_states
from vertex_tuning.plain_text import plain_lines

if TYPE_CHECKING:
    from airflow.sdk import Context

    from vertex_tuning.report.content import Report

TASKS: Final = {
    "upload": "upload_dataset",
    "create": "create_tuning_job",
    "wait": "wait_for_tuning_job",
    "metrics": "collect_metrics",
    "smoke": "smoke_test",
    "evaluation": "evaluate_model",
    "approval": "approve_model",
    "promotion": "promote_model",
}
"""What a retraining's tasks do, and what they are called in `tuning_pipeline`."""

RESULTS: Final = (
    ("upload",),
    ("metrics",),
    ("smoke", "answers"),
    ("evaluation", "evaluation"),
    ("wait",),
    ("create",),
)
"""Tasks whose results the report shows, and under which key they leave one even when they fail or skip themselves."""

RAN: Final = ("success", "failed")

ERROR: Final = "error"
"""XCom key a failed task leaves its error under, for the report."""

ERROR_SHOWN: Final = 8000
"""Characters of it."""

LIMIT: Final = 256 * 1024 * 1024
"""Largest file of the run that is read, in bytes: 1,000,000 points of metrics are less than half of it."""


def keep_error(context: Context) -> None:
    """An `on_failure_callback`: leaves a task's error for the report, as tasks cannot see why others failed."""
    context["ti"].xcom_push(
        key=ERROR, value=plain_lines(str(context.get("exception") or "")[:ERROR_SHOWN], ERROR_SHOWN)
    )


class WriteReportOperator(VertexOperator):
    """
    Write one page that shows all of a run, and the same as JSON, into the run's folder.

    Returns `verdict` (see :data:`~vertex_tuning.report.content.Outcome`), `title`, `reasons`, `report_uri` and
    `report_url`, where a person can open it.

    Meant as a teardown: whatever became of the tasks before, the page says it. Errors of failed tasks are in it when
    these tasks have :func:`keep_error` as `on_failure_callback`.

    :param run_folder: `gs://…` folder of the run. (templated)
    :param refused_folder: `gs://…` folder for the reports of runs that have no folder, because their dataset was
        refused; each gets one in it, beside what the upload wrote there. Without either nothing is written, and the
        log says how the run ended. (templated)
    :param title: what the page is called; the DAG's id when not given. (templated)
    :param tasks: task ids by what they do; see `TASKS`, which also stands for those left out.
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "run_folder", "refused_folder", "title")
    operator_extra_links = (ReportLink(),)

    def __init__(
        self,
        *,
        run_folder: str | None = None,
        refused_folder: str | None = None,
        title: str = "",
        tasks: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_folder = run_folder
        self.refused_folder = refused_folder
        self.title = title
        self.tasks = {**TASKS, **(tasks or {})}

    def execute(self, context: Context) -> dict[str, Any]:
        from vertex_tuning.report.page import to_html, to_json

        # Kept where the link looks for it.
        self.run_folder = folder = self._folder(context)
        report = self._report(context)
        verdict = report.verdict
        self.log.info("%s: %s\n%s", verdict.title, verdict.sentence, "\n".join(verdict.reasons))
        result = {"verdict": verdict.outcome, "title": verdict.title, "reasons": verdict.reasons}
        if not folder:
            self.log.warning("The run has no folder, so no report is written.")
            return {**result, "report_uri": None, "report_url": None}
        self.storage.write_object(f"{folder}/report.json", to_json(report), "application/json")
        page, uri = to_html(report).encode(), f"{folder}/report.html"
        self.storage.write_object(uri, page, "text/html; charset=utf-8")
        url = object_url(uri, self.storage.storage_endpoint)
        self.log.info("Report: %s", url)
        return {**result, "report_uri": uri, "report_url": url}

    def _report(self, context: Context) -> Report:
        from vertex_tuning.report.build import DatasetFile, Material, build

        ti, states = context["ti"], _states(context)
        # What never ran has left nothing; asking for it all the same would fill the log with errors.
        ran = {role for role, task_id in self.tasks.items() if states.get(task_id) in RAN}
        # The first that was skipped has skipped itself.
        skipped = next((role for role, task_id in self.tasks.items() if states.get(task_id) == "skipped"), None)
        ran |= {role for role, *keys in RESULTS if keys and role == skipped}
        upload, metrics, smoke, evaluation, waited, created = (
            self._result(ti, role, *keys) if role in ran else None for role, *keys in RESULTS
        )
        return build(
            Material(
                title=self.title or ti.dag_id,
                dag_id=ti.dag_id,
                run_id=ti.run_id,
                created=pendulum.now("UTC").isoformat(),
                run_url=ti.log_url.partition("/tasks/")[0],
                run_folder=str(self.run_folder),
                storage_endpoint=self.storage.storage_endpoint,
                vertex_endpoint=local_url(self.storage),
                tasks=self.tasks,
                states=states,
                errors={
                    role: error
                    for role in ran
                    if states.get(self.tasks[role]) == "failed" and (error := self._pull(ti, role, ERROR))
                },
                upload=upload,
                dataset_report=self._read(upload, "report_uri", DatasetFile),
                job=waited or created,
                metrics=metrics,
                series=self._read(metrics, "series_uri"),
                smoke=self._read(smoke, "result_uri") or smoke,
                evaluation=self._read(evaluation, "result_uri") or evaluation,
            )
        )

    def _result(self, ti: Any, role: str, *keys: str) -> dict[str, Any] | None:
        """What a task returned, or what it had pushed by the time it failed."""
        for key in (*keys, "return_value"):
            if isinstance(found := self._pull(ti, role, key), dict):
                return found
        return None

    def _pull(self, ti: Any, role: str, key: str) -> Any:
        return ti.xcom_pull(task_ids=self.tasks[role], key=key, map_indexes=ti.map_index)

    def _read(self, result: dict[str, Any] | None, field: str, kind: Any = dict[str, Any]) -> Any:
        """The whole of what a task wrote; None when it cannot be had: the page then has what is in the XCom."""
        uri = result and result.get(field)
        if not uri:
            return None
        try:
            return msgspec.json.decode(self.storage.read_object(str(uri), LIMIT), type=kind)
        except (TuningError, msgspec.MsgspecError) as error:
            self.log.warning("%s is left out of the report: %s", uri, error)
            return None

    def _folder(self, context: Context) -> str:
        ti = context["ti"]
        if self.run_folder not in NOT_GIVEN:
            return str(self.run_folder).rstrip("/")
        if self.refused_folder not in NOT_GIVEN:
            return f"{str(self.refused_folder).rstrip('/')}/{run_key(ti.dag_id, ti.run_id, ti.map_index)}"
        return ""


def _states(context: Context) -> dict[str, str | None]:
    """States of the run's tasks, by task id; in a mapped task group, of those of the same instance."""
    states, map_index = task_states(context), context["ti"].map_index
    if map_index in (None, -1):
        return states
    index = f"_{map_index}"
    return {task_id.removesuffix(index): state for task_id, state in states.items() if task_id.endswith(index)}
