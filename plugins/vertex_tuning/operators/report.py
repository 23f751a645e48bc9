"""Write the report page of a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

import msgspec
import pendulum
from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.exceptions import TuningError
from vertex_tuning.links import ReportLink
from vertex_tuning.operators.base import VertexOperator, instances_of, key_of_run, task_states
from vertex_tuning.report.content import RunOutcome, RunVerdict
from vertex_tuning.resources.resource_urls import object_url
from vertex_tuning.results import (
    MAPPED_ROLES,
    OVER_BUDGET_KEY,
    RECORD_KEY,
    RETRAINING_ROLES,
    RETURN_VALUE,
    ROLLBACK_ROLES,
    DatasetFile,
    Decision,
    EvaluationResult,
    JobResult,
    MetricsFile,
    MetricsResult,
    OutcomeResult,
    PreviousResult,
    ReportResult,
    Role,
    SelectionResult,
    SmokeResult,
    StepResult,
    UploadResult,
)
from vertex_tuning.text.plain_text import plain, plain_lines
from vertex_tuning.text.templates import rendered

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

    from vertex_tuning.history.run_record import RunRecord
    from vertex_tuning.jobs.job import TuningJob
    from vertex_tuning.report.content import EarlierRun, Report
    from vertex_tuning.report.material import Material

TASK_IDS: Final[Mapping[str, str]] = {role: role.task_id for role in RETRAINING_ROLES}
"""Task ids of a retraining, as `tuning_pipeline` names its tasks."""

ROLLBACK_TASKS: Final[Mapping[str, str]] = {role: role.task_id for role in ROLLBACK_ROLES}
"""Task ids of a rollback, as `dags/rollback.py` names its tasks."""

LEFT_EARLY: Final = frozenset(kind.role for kind in (SmokeResult, EvaluationResult, Decision))
"""Roles whose tasks push a result before they skip themselves."""

_Result = TypeVar("_Result", bound=StepResult)
_File = TypeVar("_File")
_Answers = TypeVar("_Answers", SmokeResult, EvaluationResult)

RAN: Final = ("success", "failed")
ENDED_EARLY: Final = ("skipped", "failed")
FURTHEST_FIRST: Final = ("success", "failed", "upstream_failed", "skipped")

ERROR: Final = "error"
"""XCom key of the error of a failed task, for the report."""

ERROR_SHOWN: Final = 8000
"""Most characters of an error in the report."""

REASONS_LOGGED: Final = 15
"""Most reasons in the log; the report has all."""

LIMIT: Final = 256 * 1024 * 1024
"""Largest file of the run that is read, in bytes: 1,000,000 points of metrics are less than half of it."""


def keep_error(context: Context) -> None:
    """An `on_failure_callback` that stores the error of a task for the report: tasks cannot read errors of others."""
    context["ti"].xcom_push(
        key=ERROR, value=plain_lines(str(context.get("exception") or "")[:ERROR_SHOWN], ERROR_SHOWN)
    )


class VerdictLink(BaseOperatorLink):
    """A link to the report whose name gives the outcome of the run; the links for other outcomes stay hidden."""

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
    """Base of the operators that show how a run ended.

    :param run_folder: `gs://…` folder of the run; if not set, the folder from the result of the upload task.
        (templated)
    :param refused_folder: `gs://…` parent folder of reports for runs without a folder, e.g. with a refused dataset.
        Without any folder, no report is written, and only the log says how the run ended. (templated)
    :param title: title of the page; if not set, the DAG id. (templated)
    :param tasks: task ids by :class:`~vertex_tuning.results.Role`; a missing role has the id of `TASK_IDS`.
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
        task_ids = {**TASK_IDS, **(tasks or {})}
        self.tasks = {Role(role): task_id for role, task_id in task_ids.items()}
        self.verdict: RunVerdict | None = None

    def conclude(self, context: Context, verdict: RunVerdict) -> OutcomeResult:
        """Log how the run ended and return it as the result of the task; the links work afterwards."""
        self.verdict = verdict
        self.log.info("%s. %s", verdict.title, verdict.sentence)
        for reason in verdict.reasons[:REASONS_LOGGED]:
            self.log.info("- %s", reason)
        return OutcomeResult(verdict=verdict.outcome, title=verdict.title, reasons=verdict.reasons)

    def material(self, context: Context) -> Material:
        """The results of the tasks of the run."""
        from vertex_tuning.report.material import Material

        ti, states = context["ti"], _merged(_states(context), self.tasks)
        left = _Left(ti, self.tasks, states, self.log)
        selection = left.result(SelectionResult)
        left.candidate = selection.selected if selection else None
        upload = left.result(UploadResult)
        self.run_folder = self._folder(context, upload)
        storage_endpoint, vertex_endpoint = self._endpoints()
        return Material(
            title=self.title or ti.dag_id,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            created=pendulum.now("UTC").isoformat(),
            started=_start_of_run(context),
            run_url=ti.log_url.partition("/tasks/")[0],
            run_folder=self.run_folder,
            storage_endpoint=storage_endpoint,
            vertex_endpoint=vertex_endpoint,
            tasks=self.tasks,
            states=states,
            errors=left.errors(),
            over_budget=left.over_budget(),
            upload=upload,
            job=left.job(),
            metrics=left.result(MetricsResult),
            selection=selection,
            smoke=left.result(SmokeResult),
            evaluation=left.result(EvaluationResult),
            decision=left.result(Decision),
            previous=left.result(PreviousResult),
        )

    def _endpoints(self) -> tuple[str, str]:
        """Base URLs of a local Cloud Storage and Vertex AI, for links; empty if the connection cannot be read."""
        try:
            return self.connection.storage_endpoint, self.connection.local_url
        except TuningError as error:
            self.log.warning("Links are those of Google's own hosts: %s", error)
            return "", ""

    def _folder(self, context: Context, upload: UploadResult | None) -> str:
        """The folder of the run; empty if it has no folder."""
        if folder := rendered(self.run_folder) or (upload and upload.run_folder):
            return str(folder).rstrip("/")
        if folder := rendered(self.refused_folder):
            return f"{str(folder).rstrip('/')}/{key_of_run(context)}"
        return ""


class WriteReportOperator(RunOperator):
    """Write the report of a run, as a page and as JSON, to the run's folder.

    Returns `verdict` (see :data:`~vertex_tuning.report.content.RunOutcome`), `title`, `reasons`, `report_uri` and
    `report_url`, which opens in a browser. A second report of the same run replaces the first.

    Use it as a teardown: the report then shows any outcome of the tasks before. It has the errors of failed tasks if
    these tasks have :func:`keep_error` as `on_failure_callback`. Parameters: those of the base class, and:

    :param tuning: name of the tuning to whose history the run is added; if not set, to none. (templated)
    :param bucket: bucket of the history; if not set, there is no history. (templated)
    :param record_experiment: add the run to the experiment of the tuning in Vertex AI Experiments
    """

    template_fields: Sequence[str] = (*RunOperator.template_fields, "tuning", "bucket")

    def __init__(
        self, *, tuning: str | None = None, bucket: str | None = None, record_experiment: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tuning = tuning
        self.bucket = bucket
        self.record_experiment = record_experiment

    def execute(self, context: Context) -> dict[str, Any]:
        from vertex_tuning.report.build import build

        given = self._with_files(self.material(context))
        report = build(given)
        result = ReportResult(**msgspec.structs.asdict(self.conclude(context, report.verdict)))
        # Before the page, too: the messages about a run need no page.
        self._push_record(context, given, report, result)
        report = msgspec.structs.replace(report, earlier=self._earlier_runs(context))
        result = self._write(report, result)
        self._keep_record(given, self._push_record(context, given, report, result))
        return result.as_xcom()

    def _write(self, report: Report, result: ReportResult) -> ReportResult:
        """Write the page and the JSON file, and add their place to the result."""
        from vertex_tuning.report.page import to_html, to_json

        if not self.run_folder:
            self.log.warning("The run has no folder, so no report is written.")
            return result
        uri = f"{self.run_folder}/report.html"
        self.storage.write_object(f"{self.run_folder}/report.json", to_json(report), "application/json")
        self.storage.write_object(uri, to_html(report).encode(), "text/html; charset=utf-8")
        url = object_url(uri, self.connection.storage_endpoint)
        self.log.info("Report: %s", url)
        return msgspec.structs.replace(result, report_uri=uri, report_url=url)

    def _earlier_runs(self, context: Context) -> list[EarlierRun]:
        tuning, bucket = rendered(self.tuning), rendered(self.bucket)
        if not tuning or not bucket:
            return []
        from vertex_tuning.operators.run_recorder import runs_before

        return runs_before(self, bucket, tuning, key_of_run(context))

    def _push_record(self, context: Context, given: Material, report: Report, result: ReportResult) -> RunRecord | None:
        """Push the record of the run as an XCom, for messages.

        :returns: the record; None without a tuning
        """
        tuning = rendered(self.tuning)
        if not tuning:
            return None
        from vertex_tuning.operators.run_recorder import record_of_run

        try:
            record = record_of_run(given, report, result, tuning=tuning, key=key_of_run(context))
        except msgspec.ValidationError as error:
            self.log.warning("The run is left out of the history of %s: %s", plain(str(tuning)), error)
            return None
        context["ti"].xcom_push(key=RECORD_KEY, value=msgspec.to_builtins(record))
        return record

    def _keep_record(self, given: Material, record: RunRecord | None) -> None:
        """Add the run to the history and to the experiment of its tuning."""
        if not record:
            return
        from vertex_tuning.operators.run_recorder import add_to_experiment, add_to_history

        if bucket := rendered(self.bucket):
            add_to_history(self, bucket, record)
        if self.record_experiment:
            add_to_experiment(self, given, record)

    def _with_files(self, given: Material) -> Material:
        """Add the complete results from files, where XCom has only a part."""
        upload, metrics, smoke, evaluation = given.upload, given.metrics, given.smoke, given.evaluation
        points = self._read(metrics.series_uri, MetricsFile) if metrics else None
        return msgspec.structs.replace(
            given,
            dataset_report=self._read(upload.report_uri, DatasetFile) if upload else None,
            series=points.series if points else {},
            smoke=self._complete(smoke) if smoke else None,
            evaluation=self._complete(evaluation) if evaluation else None,
        )

    def _complete(self, part: _Answers) -> _Answers:
        """The complete result from its file, which does not contain the file's URI; else the part in XCom."""
        whole = self._read(part.result_uri, type(part))
        return msgspec.structs.replace(whole, result_uri=part.result_uri) if whole else part

    def _read(self, uri: str | None, kind: type[_File]) -> _File | None:
        """The complete result from a file; None if it cannot be read: the page then shows the part in XCom."""
        if not uri:
            return None
        try:
            return msgspec.json.decode(self.storage.read_object(uri, LIMIT), type=kind)
        except (TuningError, msgspec.MsgspecError) as error:
            self.log.warning("%s is left out of the report: %s", uri, error)
            return None


class ShowOutcomeOperator(RunOperator):
    """Show an outcome of the run in the grid: the task succeeds if the run ended this way, and is skipped otherwise.

    A skipped promotion does not show whether the model was refused or no person decided. Name the task after the
    outcome, and place it after the promotion with the trigger rule `all_skipped`. If a refusal fails the run
    (`on_refused: fail`), use `all_done`. A second task, with the default trigger rule, must show the promotion. It
    makes the run fail after a failure, because Airflow takes the state of a run from its last tasks. Further
    parameters: those of the base class.

    :param outcomes: values of :data:`~vertex_tuning.report.content.RunOutcome` that the task shows.
    """

    def __init__(self, *, outcomes: Collection[RunOutcome], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outcomes = list(outcomes)

    def execute(self, context: Context) -> dict[str, Any]:
        from vertex_tuning.report.build import outcome

        verdict = outcome(self.material(context))
        if verdict.outcome not in self.outcomes:
            reason = f"The run ended with another outcome: {verdict.title}. {verdict.sentence}"
            self.log.info("%s", reason)
            raise AirflowSkipException(reason)
        return self.conclude(context, verdict).as_xcom()


class _Left:
    """The XComs of the tasks of a run."""

    def __init__(self, ti: Any, tasks: Mapping[Role, str], states: Mapping[str, str | None], log: Any) -> None:
        self._ti, self._tasks, self._states, self._log = ti, tasks, states, log
        self.candidate: int | None = None
        """Map index of the best candidate of a sweep, whose results count; None without one."""
        # A task that never ran has no XCom; reading it would fill the log with errors.
        self._ran = {role for role, task_id in tasks.items() if states.get(task_id) in RAN}
        # The first skipped task has skipped itself.
        skipped = next((role for role, task_id in tasks.items() if states.get(task_id) == "skipped"), None)
        self._ran |= {role for role in LEFT_EARLY if role == skipped}
        # A person's decision starts this task, perhaps before the approval task has ended.
        self._ran |= {Role.APPROVAL} if states.get(tasks[Role.APPROVAL]) == "running" else set()

    def result(self, kind: type[_Result]) -> _Result | None:
        """The result of the task of a role, or what it pushed before it failed."""
        if kind.role not in self._ran:
            return None
        for key in kind.xcom_keys:
            if isinstance(found := self._pull(kind.role, key), dict):
                return self._decode(found, kind)
        return None

    def job(self) -> TuningJob | None:
        """The job of the wait task, or else the job of the create task."""
        for role in (Role.WAIT, Role.CREATE):
            if role in self._ran and isinstance(found := self._pull(role, RETURN_VALUE), dict):
                return JobResult.parse(found)
        return None

    def over_budget(self) -> str:
        """Why the budget of 30 days had no room for the job; empty if it had, or the run did not get that far."""
        for task_id in (self._tasks[Role.WAIT], self._tasks[Role.CREATE]):
            if self._states.get(task_id) not in ENDED_EARLY:
                continue
            # Of the candidates of a sweep, none has a job then, and the first that says why counts.
            for index in list(instances_of(self._states, task_id)) or [self._ti.map_index]:
                if found := self._ti.xcom_pull(key=OVER_BUDGET_KEY, task_ids=task_id, map_indexes=index):
                    return str(found)
        return ""

    def errors(self) -> dict[Role, str]:
        failed = [role for role in self._ran if self._states.get(self._tasks[role]) == "failed"]
        found = {role: str(error) for role in failed if (error := self._pull(role, ERROR))}
        if Role.SELECTION in found:  # it names the error of each candidate
            found |= dict.fromkeys((role for role in failed if role in MAPPED_ROLES), found[Role.SELECTION])
        return found

    def _decode(self, found: dict[str, Any], kind: type[_Result]) -> _Result | None:
        try:
            return msgspec.convert(found, kind)
        except msgspec.ValidationError as error:
            self._log.warning("The result of %s is left out of the report: %s", self._tasks[kind.role], error)
            return None

    def _pull(self, role: Role, key: str) -> Any:
        index = self._ti.map_index
        if role in MAPPED_ROLES and self._states.get(self._tasks[Role.SELECTION]) is not None:
            if self.candidate is None:
                return None
            index = self.candidate
        return self._ti.xcom_pull(key=key, task_ids=self._tasks[role], map_indexes=index)


def _merged(states: dict[str, str | None], tasks: Mapping[Role, str]) -> dict[str, str | None]:
    """States of the run's tasks, with one state for all candidates of a sweep: that of the furthest candidate."""
    instances = {task_id: list(instances_of(states, task_id).values()) for task_id in tasks.values()}
    merged = {
        task_id: next((state for state in FURTHEST_FIRST if state in found), found[0])
        for task_id, found in instances.items()
        if found and task_id not in states
    }
    return {**states, **merged}


def _start_of_run(context: Context) -> str:
    """Start of the run in RFC 3339 form; empty if it is not known."""
    started = getattr(context.get("dag_run"), "start_date", None)
    return started.isoformat() if started else ""


def _states(context: Context) -> dict[str, str | None]:
    """States of the run's tasks, by task id; in a mapped task group, only of the same group instance."""
    states, map_index = task_states(context), context["ti"].map_index
    if map_index in (None, -1):
        return states
    index = f"_{map_index}"
    return {task_id.removesuffix(index): state for task_id, state in states.items() if task_id.endswith(index)}
