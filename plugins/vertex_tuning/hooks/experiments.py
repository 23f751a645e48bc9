"""Experiments: where a tuning job keeps its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Final

import msgspec

from vertex_tuning.exceptions import MetricsError, NotFoundError, VertexUnavailableError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.rest import RestClient, decode, patient
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.metrics.series import Point, Series, tidy
from vertex_tuning.metrics.summary import job_metrics
from vertex_tuning.plain_text import NAME_SHOWN, plain

ALL_POINTS: Final = -1
"""Of `maxDataPoints`; above it, or above 1,000 without it, the answer would be a random sample."""
RUNS_PER_PAGE: Final = 100
SERIES_PER_PAGE: Final = 1000
"""The most that the lists take."""
RETRIES: Final = 3


class ExperimentsHook(GoogleConnection):
    """Reads metrics and never writes any; parameters as its base's.

    Four kinds of GET and nothing else: the experiment names its TensorBoard, the contexts below it are its runs, each
    run lists its series, and `timeSeries:read` gives all points of one. Not `tensorboards:batchRead`, which gives no
    more than 1,000 of each, drawn at random, and not the export, a POST that pages through the same points.
    """

    @cached_property
    def _rest(self) -> RestClient:
        return RestClient(self, retry=patient(RETRIES))

    def series_of(self, job: TuningJob) -> list[Series]:
        """As `read_metrics`; none when the job has no experiment, or one that is gone or has no TensorBoard."""
        try:
            return self.read_metrics(job.experiment) if job.experiment else []
        except (NotFoundError, MetricsError) as error:
            self.log.warning("%s has no metrics (any more): %s", job.name, error)
            return []

    def read_metrics(self, experiment: str) -> list[Series]:
        """All series of all runs of a tuning job's experiment, whole and in order, read without writing anything.

        :param experiment: the job's `experiment`, a Metadata context
        :raises MetricsError: it has no TensorBoard
        """
        context = decode(self._rest.read(experiment), _Experiment)
        if not context.metadata.backing_tensorboard_resource:
            raise MetricsError(f"{experiment} names no TensorBoard, expected backing_tensorboard_resource.")
        runs = self._runs(experiment)
        return tidy(one for run in runs for one in self._read_run(context.metadata.backing_tensorboard_resource, run))

    def _runs(self, experiment: str) -> Iterator[str]:
        """`EXPERIMENT/runs/RUN` of each: a run's context is called after both."""
        store, _, experiment_id = experiment.partition("/contexts/")
        filter_ = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment}"'
        for context in self._rest.pages(f"{store}/contexts", "contexts", RUNS_PER_PAGE, filter=filter_):
            run = str(context["name"]).rpartition("/")[2].removeprefix(f"{experiment_id}-")
            yield f"{experiment_id}/runs/{run}"

    def _read_run(self, tensorboard: str, run: str) -> Iterator[Series]:
        path = f"{tensorboard}/experiments/{run}/timeSeries"
        for series in self._rest.pages(path, "tensorboardTimeSeries", SERIES_PER_PAGE):
            if series.get("valueType") == "SCALAR":
                yield Series(plain(series["displayName"], NAME_SHOWN), self._read_points(series["name"]))

    def _read_points(self, name: str) -> list[Point]:
        return parse_points(self._rest.read(f"{name}:read", maxDataPoints=ALL_POINTS))


def job_values(experiments: ExperimentsHook, job: TuningJob) -> dict[str, float]:
    """The values of `JobMetrics` for any job that has ended, as the model's in use, from what Google keeps of it."""
    return job_metrics(job, experiments.series_of(job)).values


class _Metadata(msgspec.Struct):
    backing_tensorboard_resource: str = ""


class _Experiment(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Scalar(msgspec.Struct, frozen=True, gc=False):
    value: float = 0.0


class _DataPoint(msgspec.Struct, gc=False, rename="camel"):
    """What is 0 or empty is not there, as in all proto3 JSON."""

    step: int = 0
    wall_time: str = ""
    scalar: _Scalar = _Scalar()


class _Data(msgspec.Struct):
    values: list[_DataPoint] = []


class _Answer(msgspec.Struct, rename="camel"):
    time_series_data: _Data = msgspec.field(default_factory=_Data)


def parse_points(answer: bytes) -> list[Point]:
    """The points in an answer of `timeSeries:read`.

    :raises VertexUnavailableError: there are none in it
    """
    try:
        # Not strict: int64, NaN and Infinity come as text.
        data = msgspec.json.decode(answer, type=_Answer, strict=False).time_series_data
    except msgspec.DecodeError as error:
        raise VertexUnavailableError(f"Google answered {answer[:200]!r}: {error}") from error
    return [Point(one.step, one.scalar.value, one.wall_time) for one in data.values]
