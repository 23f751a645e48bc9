"""Reads of the page from Google, with the connection of the tasks. Each function is called in a background thread."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vertex_tuning.config.data_tables import table_path
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.config.variables import read_from_database
from vertex_tuning.costs.budget import BUDGET_PERIOD, CostTotals
from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import NotFoundError, VertexUnavailableError
from vertex_tuning.history.run_history import History, history_folder, read_history
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL, TuningJob
from vertex_tuning.jobs.job_cost import job_cost
from vertex_tuning.metrics.series import SeriesColumns, columns
from vertex_tuning.registry.aliases import TUNING_LABEL, ModelVersion

if TYPE_CHECKING:
    from vertex_tuning.hooks.connection import GoogleConnection

PAGE_SIZE: Final = 100
MAX_PAGES_READ: Final = 50
"""Most pages of a list: 5,000 models or jobs of one region."""
METRICS_LIMIT: Final = 32 * 1024 * 1024
"""Largest file of metrics that is read, in bytes: 100,000 points are less."""
RUNS_SHOWN: Final = 500
"""Most runs on the page of a tuning."""
RUNS_OF_CARD: Final = 12
"""Runs that a card needs: the last, and those of its sparkline."""
PARALLEL_MODELS: Final = 8

log = logging.getLogger(__name__)


class Addresses(msgspec.Struct, frozen=True):
    """Base URLs of a local Google Cloud, which has no console; empty for Google's."""

    vertex: str = ""
    storage: str = ""


def connection_in(region: str) -> GoogleConnection:
    """The connection of the tasks."""
    from vertex_tuning.hooks.connection import GoogleConnection

    read_from_database()
    return GoogleConnection(location=region)


def read_addresses(region: str) -> Addresses:
    """Where links to resources of a region lead."""
    connection = connection_in(region)
    return Addresses(connection.local_url, connection.storage_endpoint)


class TuningJobs(msgspec.Struct, frozen=True):
    """The jobs of a tuning in a region.

    :param live: jobs that have not ended, newest first
    :param totals: costs of all jobs of the last 30 days
    :param currency: currency of the price table
    """

    live: list[TuningJob]
    totals: CostTotals
    currency: str


def read_jobs(region: str) -> dict[str, TuningJobs]:
    """The jobs of this Airflow installation of the last 30 days, by tuning: one list for all tunings."""
    prices = load_prices(table_path("prices"))
    by_tuning: defaultdict[str, list[TuningJob]] = defaultdict(list)
    for job in _recent_jobs(region):
        by_tuning[job.labels.get(TUNING_LABEL, "")].append(job)
    return {
        name: TuningJobs(
            live=[job for job in jobs if job.is_live],
            totals=CostTotals.of([job_cost(job, prices) for job in jobs]),
            currency=prices.currency,
        )
        for name, jobs in by_tuning.items()
    }


def _recent_jobs(region: str) -> Iterator[TuningJob]:
    """The jobs of this Airflow installation that were created in the last 30 days, newest first."""
    from vertex_tuning.hooks.job_reader import JobReader, parse

    oldest = datetime.now(UTC) - BUDGET_PERIOD
    for _, answer in JobReader(connection_in(region)).recent(f"labels.{DEPLOYMENT_LABEL}={deployment_id()}"):
        try:
            job = parse(answer)
        except VertexUnavailableError as error:
            log.warning("Leaving out a tuning job: %s", error)
            continue
        if job.create_time and datetime.fromisoformat(job.create_time) < oldest:
            return
        if job.labels.get(DEPLOYMENT_LABEL) == deployment_id():
            yield job


def read_runs(region: str, bucket: str, tuning: str) -> History:
    """The whole history of a tuning, newest run first."""
    from vertex_tuning.hooks.storage import StorageHook

    folder = history_folder(bucket, deployment_id(), tuning)
    return read_history(StorageHook(connection_in(region)), folder, RUNS_SHOWN)


def read_summary(region: str, bucket: str, tuning: str) -> HistorySummary:
    """The part of a history for the overview: 200 histories of 500 runs would need 300 MB."""
    history = read_runs(region, bucket, tuning)
    oldest = datetime.now(UTC) - BUDGET_PERIOD
    recent = [record for record in history.records if record.ended_at > oldest]
    currencies = {record.currency for record in recent if record.cost is not None}
    in_use = ("promoted", "first", "rolled_back")
    return HistorySummary(
        recent=history.records[:RUNS_OF_CARD],
        promoted=next((record for record in history.records if record.outcome in in_use), None),
        cost=sum(record.cost or 0.0 for record in recent),
        currency=currencies.pop() if len(currencies) == 1 else "",
        left_out=history.left_out,
    )


class HistorySummary(msgspec.Struct, frozen=True):
    """The part of a history for the overview.

    :param recent: the last runs, newest first
    :param promoted: the last run that put a model into use; None if no run did
    :param cost: sum of the costs of the last 30 days
    :param currency: of this sum; empty if it is not known
    :param left_out: objects that are no records
    """

    recent: list[RunRecord] = []
    promoted: RunRecord | None = None
    cost: float = 0.0
    currency: str = ""
    left_out: list[str] = []


def read_models(region: str) -> dict[str, list[ModelVersion]]:
    """The models of this Airflow installation, by tuning: one list for all tunings.

    The list has the default version of each model. Most models have no other; those that have are read one by one.
    """
    connection = connection_in(region)
    labels = {DEPLOYMENT_LABEL: deployment_id()}
    parent = f"projects/{connection.project}/locations/{region}"
    listed = _versions(connection, f"{parent}/models", filter=f"labels.{DEPLOYMENT_LABEL}={deployment_id()}")
    own = [version for version in listed if labels.items() <= version.labels.items()]
    several = [version.model for version in own if not version.name.endswith("@1")]
    models: defaultdict[str, list[ModelVersion]] = defaultdict(list)
    for version in (*(single for single in own if single.model not in several), *read_versions(region, several)):
        models[version.labels.get(TUNING_LABEL, "")].append(version)
    return dict(models)


def read_versions(region: str, models: list[str]) -> list[ModelVersion]:
    """All versions of some models.

    :param models: names of the models, without a version
    """
    connection = connection_in(region)

    def of(model: str) -> list[ModelVersion]:
        try:
            return list(_versions(connection, f"{model}:listVersions"))
        except NotFoundError:  # deleted since it was listed
            return []

    with ThreadPoolExecutor(PARALLEL_MODELS) as pool:
        return [version for versions in pool.map(of, models) for version in versions]


def _versions(connection: GoogleConnection, name: str, **query: str) -> Iterator[ModelVersion]:
    """Models of a list, over plain REST: the generated client needs 70 MB and four seconds."""
    from vertex_tuning.hooks.rest import RestClient, decode

    rest, token = RestClient(connection), ""
    for _ in range(MAX_PAGES_READ):
        page = decode(rest.read(name, pageSize=PAGE_SIZE, pageToken=token, **query), _ModelPage)
        for model in page.models:
            try:
                yield ModelVersion.parse(model)
            except VertexUnavailableError as error:
                log.warning("Leaving out a model: %s", error)
        token = page.next_page_token
        if not token:
            return


class _CurvesFile(msgspec.Struct):
    """The part of a `MetricsFile` that is shown."""

    series: dict[str, SeriesColumns]


class _ModelPage(msgspec.Struct, rename="camel"):
    models: list[dict[str, Any]] = []
    next_page_token: str = ""


def read_loss_curves(region: str, uri: str) -> dict[str, SeriesColumns]:
    """The curves of the losses of a run, from its file of metrics.

    :param uri: the file, `gs://…`
    """
    from vertex_tuning.hooks.storage import StorageHook

    content = StorageHook(connection_in(region)).read_object(uri, METRICS_LIMIT)
    try:
        return _losses(msgspec.json.decode(content, type=_CurvesFile).series)
    except msgspec.MsgspecError as error:
        raise VertexUnavailableError(f"{uri} is not a file of metrics: {error}") from error


def read_live_curves(region: str, job: TuningJob) -> dict[str, SeriesColumns]:
    """The curves of the losses of a job that runs, as far as they are written."""
    from vertex_tuning.hooks.experiments import ExperimentsHook

    experiments = ExperimentsHook(connection_in(region))
    return _losses({series.name: columns(series) for series in experiments.series_of(job)})


def _losses(series: dict[str, SeriesColumns]) -> dict[str, SeriesColumns]:
    return {name: msgspec.structs.replace(curve, time=[]) for name, curve in series.items() if name.endswith("loss")}
