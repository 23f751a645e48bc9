"""Writing the page that shows all of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
import pendulum
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.datasets.manifest import run_key
from vertex_tuning.exceptions import TuningError
from vertex_tuning.links import ReportLink
from vertex_tuning.operators.base import NOT_GIVEN, VertexOperator, task_states
from vertex_tuning.plain_text import plain_lines
from vertex_tuning.report.content import Decision, RunOutcome, RunVerdict
from vertex_tuning.resource_urls import object_url

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

    from vertex_tuning.report.material import Material

TASK_IDS: Final = {
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

ROLLBACK_TASKS: Final = {"previous": "find_previous", "smoke": "smoke_test", "rollback": "roll_back"}
"""Likewise of a rollback."""

RESULTS: Final = (
    ("upload",),
    ("metrics",),
    ("smoke", "answers"),
    ("evaluation", "evaluation"),
    ("wait",),
    ("create",),
    ("approval", "decision"),
    ("previous",),
)
"""Tasks whose results the report shows, and under which key they leave one even when they fail or skip themselves."""

RAN: Final = ("success", "failed")

ERROR: Final = "error"
"""XCom key a failed task leaves its error under, for the report."""

ERROR_SHOWN: Final = 8000
"""Characters of it."""

REASONS_LOGGED: Final = 15
"""The report has them all."""

LIMIT: Final = 256 * 1024 * 1024
"""Largest file of the run that is read, in bytes: 1,000,000 points of metrics are less than half of it."""


def keep_error(context: Context) -> None:
    """An `on_failure_callback`: leaves a task's error for the report, as tasks cannot see why others failed."""
    context["ti"].xcom_push(
        key=ERROR, value=plain_lines(str(context.get("exception") or "")[:ERROR_SHOWN], ERROR_SHOWN)
    )


class VerdictLink(BaseOperatorLink):
    """Says how the run ended by its name; the others of its kind stay hidden. It leads to the report."""

    def __init__(self, outcome: str) -> None:
        self.outcome = outcome

    @property
    def name(self) -> str:
        return f"Verdict: {self.outcome.replace('_', ' ')}"

    @property
    def xcom_key(self) -> str:
        return f"verdict_{self.outcome}"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        verdict = getattr(operator, "verdict", None)
        return ReportLink().get_link(operator, ti_key=ti_key) if verdict and verdict.outcome == self.outcome else ""


class RunOperator(VertexOperator):
    """
    Base of the operators that say how a run ended.

    :param run_folder: `gs://…` folder of the run. (templated)
    :param refused_folder: `gs://…` folder for the reports of runs that have no folder, such as those whose dataset was
        refused; each gets one in it. Without either nothing is written, and the log says how the run ended. (templated)
    :param title: what the page is called; the DAG's id when not given. (templated)
    :param tasks: task ids by what they do; see `TASK_IDS`, which also stands for those left out.
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "run_folder", "refused_folder", "title")
    operator_extra_links: Collection[BaseOperatorLink] = (ReportLink(), *map(VerdictLink, get_args(RunOutcome)))

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
        self.tasks = {**TASK_IDS, **(tasks or {})}
        self.verdict: RunVerdict | None = None

    def conclude(self, context: Context, verdict: RunVerdict) -> dict[str, Any]:
        """Say how the run ended, to the log and in the task's result; the links are there from now on."""
        self.run_folder = self.folder(context)
        self.verdict = verdict
        self.log.info("%s. %s", verdict.title, verdict.sentence)
        for reason in verdict.reasons[:REASONS_LOGGED]:
            self.log.info("- %s", reason)
        return {"verdict": verdict.outcome, "title": verdict.title, "reasons": verdict.reasons}

    def material(self, context: Context) -> Material:
        """What the tasks of the run returned."""
        from vertex_tuning.report.material import Material

        ti, states = context["ti"], _states(context)
        # What never ran has left nothing; asking for it all the same would fill the log with errors.
        ran = {role for role, task_id in self.tasks.items() if states.get(task_id) in RAN}
        # The first that was skipped has skipped itself.
        skipped = next((role for role, task_id in self.tasks.items() if states.get(task_id) == "skipped"), None)
        ran |= {role for role, *keys in RESULTS if keys and role == skipped}
        # A person's decision wakes this task, perhaps before the one that asked has ended.
        ran |= {"approval"} if states.get(self.tasks["approval"]) == "running" else set()
        results = {role: self._result(ti, role, *keys) if role in ran else None for role, *keys in RESULTS}
        return Material(
            title=self.title or ti.dag_id,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            created=pendulum.now("UTC").isoformat(),
            run_url=ti.log_url.partition("/tasks/")[0],
            run_folder=self.folder(context),
            storage_endpoint=self.connection.storage_endpoint,
            vertex_endpoint=self.connection.local_url,
            tasks=self.tasks,
            states=states,
            errors={
                role: error
                for role in ran
                if states.get(self.tasks[role]) == "failed" and (error := self._pull(ti, role, ERROR))
            },
            upload=results["upload"],
            job=results["wait"] or results["create"],
            metrics=results["metrics"],
            smoke=results["smoke"],
            evaluation=results["evaluation"],
            decision=_decision(results["approval"]),
            previous=results["previous"],
        )

    def _result(self, ti: Any, role: str, *keys: str) -> dict[str, Any] | None:
        """What a task returned, or what it had pushed by the time it failed."""
        for key in (*keys, "return_value"):
            if isinstance(found := self._pull(ti, role, key), dict):
                return found
        return None

    def _pull(self, ti: Any, role: str, key: str) -> Any:
        return ti.xcom_pull(task_ids=self.tasks[role], key=key, map_indexes=ti.map_index)

    def folder(self, context: Context) -> str:
        ti = context["ti"]
        if self.run_folder not in NOT_GIVEN:
            return str(self.run_folder).rstrip("/")
        if self.refused_folder not in NOT_GIVEN:
            return f"{str(self.refused_folder).rstrip('/')}/{run_key(ti.dag_id, ti.run_id, ti.map_index)}"
        return ""


class WriteReportOperator(RunOperator):
    """
    Write one page that shows all of a run, and the same as JSON, into the run's folder.

    Returns `verdict` (see :data:`~vertex_tuning.report.content.RunOutcome`), `title`, `reasons`, `report_uri` and
    `report_url`, where a person can open it. May be written again later in the run, and then replaces the page.

    Meant as a teardown: whatever became of the tasks before, the page says it. Errors of failed tasks are in it when
    these tasks have :func:`keep_error` as `on_failure_callback`. Parameters as the base's.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from vertex_tuning.report.build import build
        from vertex_tuning.report.page import to_html, to_json

        report = build(self._with_files(self.material(context)))
        result = self.conclude(context, report.verdict)
        if not self.run_folder:
            self.log.warning("The run has no folder, so no report is written.")
            return {**result, "report_uri": None, "report_url": None}
        uri = f"{self.run_folder}/report.html"
        self.storage.write_object(f"{self.run_folder}/report.json", to_json(report), "application/json")
        self.storage.write_object(uri, to_html(report).encode(), "text/html; charset=utf-8")
        url = object_url(uri, self.connection.storage_endpoint)
        self.log.info("Report: %s", url)
        return {**result, "report_uri": uri, "report_url": url}

    def _with_files(self, given: Material) -> Material:
        """The whole of what the tasks have written, where an XCom has a part of it."""
        from vertex_tuning.report.material import DatasetFile

        return msgspec.structs.replace(
            given,
            dataset_report=self._read(given.upload, "report_uri", DatasetFile),
            series=self._read(given.metrics, "series_uri"),
            smoke=self._read(given.smoke, "result_uri") or given.smoke,
            evaluation=self._read(given.evaluation, "result_uri") or given.evaluation,
        )

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


class ShowOutcomeOperator(RunOperator):
    """
    Stand for an outcome in the grid: runs when the run ended so, and is skipped otherwise.

    A promotion that was skipped shows neither that the model was refused nor that nobody decided. Give the task such a
    name, and set it behind the promotion with the trigger rule `all_skipped`. Beside it must be one for the promoted
    model, with the usual trigger rule: Airflow takes a run's state from its last tasks, and that one passes a failure
    on. Further parameters as the base's.

    :param outcomes: of :data:`~vertex_tuning.report.content.RunOutcome`, those it stands for.
    """

    def __init__(self, *, outcomes: Collection[RunOutcome], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outcomes = list(outcomes)

    def execute(self, context: Context) -> dict[str, Any]:
        from vertex_tuning.report.build import outcome

        verdict = outcome(self.material(context))
        if verdict.outcome not in self.outcomes:
            reason = f"The run ended otherwise: {verdict.title}. {verdict.sentence}"
            self.log.info("%s", reason)
            raise AirflowSkipException(reason)
        return self.conclude(context, verdict)


def _decision(found: Mapping[str, Any] | None) -> Decision | None:
    """None as well for an approval by another operator, which says nothing that is known here."""
    return msgspec.convert(found, Decision) if found and "answer" in found else None


def _states(context: Context) -> dict[str, str | None]:
    """States of the run's tasks, by task id; in a mapped task group, of those of the same instance."""
    states, map_index = task_states(context), context["ti"].map_index
    if map_index in (None, -1):
        return states
    index = f"_{map_index}"
    return {task_id.removesuffix(index): state for task_id, state in states.items() if task_id.endswith(index)}
