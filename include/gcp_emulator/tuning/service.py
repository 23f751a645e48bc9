"""The tuning service: create, get, list, cancel and rebase tuning jobs."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from ..errors import (
    ApiError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    StorageError,
)
from ..names import canonical, timestamp
from ..names import parent_of as parent_of_name
from ..state import Resource, new_id
from ..storage.service import StorageService
from ..vertex.filters import compile_filter
from ..vertex.operations import Operations
from ..vertex.rest import (
    found,
    name_of,
    page,
    parent_of,
    query,
    read,
    reply,
    version_of,
    vertex_route,
)
from .datasets import Dataset, check_validation, data_stats, inspect
from .job_run import JobRun, Services, job_directory, seed_of
from .lifecycle import Lifecycle
from .spec import (
    TuningSpec,
    automatic_epochs,
    check_uris,
    default_display_name,
    echo,
    is_jsonl,
    read_spec,
)

_JOB: Final = "tuningJobs/{job:id}"
_FIELDS: Final = (
    "name",
    "state",
    "labels",
    "tunedModelDisplayName",
    "baseModel",
    "createTime",
    "updateTime",
    "endTime",
)
_LEGACY: Final = "gemini-1.0-"


class TuningService:
    """Creates, lists, cancels and rebases tuning jobs.

    :param storage: storage of the datasets
    :param operations: operations that report a rebase
    """

    def __init__(self, services: Services, storage: StorageService, operations: Operations) -> None:
        self.services = services
        self.store = services.store
        self.storage = storage
        self.operations = operations
        self.lifecycle = Lifecycle(services, self._ended)
        self.hidden_seconds = 0.0

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            vertex_route("POST", "tuningJobs", self.create_job, "tuningJobs.create"),
            vertex_route("GET", "tuningJobs", self.list_jobs, "tuningJobs.list"),
            vertex_route("POST", "tuningJobs:rebaseTunedModel", self.rebase, "tuningJobs.rebaseTunedModel"),
            vertex_route("GET", _JOB, self.get_job, "tuningJobs.get"),
            vertex_route("POST", _JOB + ":cancel", self.cancel_job, "tuningJobs.cancel"),
        ]

    # Handlers

    async def create_job(self, request: Request) -> Response:
        body = await read(request, "TuningJob")
        job = await self.create(parent_of(request), body)
        return reply(request, "TuningJob", job)

    async def get_job(self, request: Request) -> Response:
        return reply(request, "TuningJob", self._shown(self._job(name_of(request))))

    async def list_jobs(self, request: Request) -> Response:
        matches = compile_filter(query(request, "filter"), _FIELDS)
        rows = (row for row in self.store.numbered("tuningJobs", name_of(request) + "/") if matches(row[1]))
        return reply(request, "ListTuningJobsResponse", page(request, rows, "tuningJobs", show=self._shown))

    async def cancel_job(self, request: Request) -> Response:
        await read(request, "CancelTuningJobRequest")
        self.lifecycle.cancel(self._job(name_of(request))["name"])
        return JSONResponse({})

    async def rebase(self, request: Request) -> Response:
        body = await read(request, "RebaseTunedModelRequest")
        return JSONResponse(await self._rebase(version_of(request), parent_of(request), body))

    # Rules

    def _job(self, name: str) -> Resource:
        return found(self.store.get("tuningJobs", name), name)

    def _shown(self, job: Resource) -> Resource:
        """The job with the endpoint of its model's current default checkpoint."""
        tuned = job.get("tunedModel", {})
        if not tuned.get("endpoint") or not tuned.get("checkpoints"):
            return job
        chosen = (self.store.get("models", tuned["model"]) or {}).get("defaultCheckpointId")
        earlier = {item["checkpointId"]: item["endpoint"] for item in tuned["checkpoints"][:-1]}
        return job | {"tunedModel": tuned | {"endpoint": earlier[chosen]}} if chosen in earlier else job

    async def create(self, parent: str, body: Resource, *, deploy_to: str | None = None) -> Resource:
        """Check a request and its datasets, and start the job.

        :param parent: `projects/NUMBER/locations/LOCATION`
        :param deploy_to: endpoint that the tuned model must take over
        :return: the new job
        :raises ApiError: the service would refuse the request
        """
        spec = read_spec(body, parent, self.services.registry)
        name = f"{parent}/tuningJobs/{new_id()}"
        directory = job_directory(self.store, name)
        try:
            training, validation = await self._datasets(spec, directory)
            self.lifecycle.check_quota(parent)
            job, record = self._new_job(name, body, spec, training)
            record |= {"validation": validation is not None, "deployTo": deploy_to}
            self.lifecycle.start(job, record)
        except ApiError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return job

    async def _datasets(self, spec: TuningSpec, directory: Path) -> tuple[Dataset, Dataset | None]:
        """Link the files, so that they cannot change, and check them outside of the event loop."""
        sources = {uri: self._locate(uri) for uri in spec.dataset_uris.values()}
        check_uris(spec, {uri for uri, path in sources.items() if path is None})
        copies = _link_all([sources[uri] or Path() for uri in spec.dataset_uris.values()], directory)
        datasets = await asyncio.to_thread(_inspect_all, copies, spec)
        return datasets[0], datasets[1] if len(datasets) > 1 else None

    def _locate(self, uri: str) -> Path | None:
        try:
            return self.storage.path_of(uri) if is_jsonl(uri) else None
        except (StorageError, NotFound):
            return None

    def _new_job(self, name: str, body: Resource, spec: TuningSpec, training: Dataset) -> tuple[Resource, Resource]:
        epochs = spec.epochs or automatic_epochs(training.rows)
        source = self.services.registry.version(spec.source) if spec.source else None
        display_name = body.get("tunedModelDisplayName") or (source or {}).get("displayName")
        now = timestamp()
        job = echo(body, spec, epochs) | {
            "name": name,
            "tunedModelDisplayName": display_name or default_display_name(spec),
            "state": "JOB_STATE_PENDING",
            "tuningJobState": "TUNING_JOB_STATE_WAITING_FOR_CAPACITY",
            "createTime": now,
            "updateTime": now,
        }
        same_model = source is not None and display_name == source["displayName"]
        record = {
            "base": spec.base.name,
            "method": spec.method,
            "epochs": epochs,
            "multiplier": spec.multiplier,
            "adapter": spec.adapter,
            "beta": spec.beta,
            "lastCheckpointOnly": spec.last_checkpoint_only,
            "seed": seed_of(spec.base.name, epochs, spec.multiplier, spec.adapter, spec.beta),
            "dataStats": data_stats(training, spec.method),
            "versionOf": source["name"] if source and same_model else None,
            "baseWeights": str(self.services.registry.weights(spec.source, spec.checkpoint)) if spec.source else None,
        }
        return job, record

    async def _rebase(self, version: str, parent: str, body: Resource) -> Resource:
        """Repeat an earlier job on a newer base model. The operation ends with the new job."""
        old = self._referenced(body.get("tunedModelRef", {}))
        changes = body.get("tuningJob", {})
        field = "supervisedTuningSpec" if "supervisedTuningSpec" in old else "preferenceOptimizationSpec"
        kept = {key: old[key] for key in ("tunedModelDisplayName", "labels", "description", field) if key in old}
        job = {"baseModel": changes.get("baseModel") or _NEWER_BASE} | kept | changes
        job[field] = old[field] | changes.get(field, {})
        same = body.get("deployToSameEndpoint", False)
        made = await self.create(parent, job, deploy_to=old.get("tunedModel", {}).get("endpoint") if same else None)
        operation = self.operations.begin(version, made["name"], "RebaseTunedModelOperationMetadata")
        run = JobRun(made["name"], self.services)
        run.note(operation=operation["name"])
        return operation

    def _referenced(self, reference: Resource) -> Resource:
        """The job that made the tuned model a rebase request refers to."""
        if reference.get("tuningJob"):
            job = self._job(canonical(reference["tuningJob"]))
        elif reference.get("tunedModel"):
            job = self._job_of_model(canonical(reference["tunedModel"]))
        else:
            raise InvalidArgument(
                "tuned_model_ref must name a tuned_model or a tuning_job; pipeline_job is not supported."
            )
        if job["state"] != "JOB_STATE_SUCCEEDED":
            raise FailedPrecondition(f"{job['name']} has not succeeded; only a tuned model can be rebased.")
        return job

    def _job_of_model(self, name: str) -> Resource:
        version = self.services.registry.version(name)
        job_id = version["labels"].get("google-vertex-llm-tuning-job-id", "")
        return self._job(f"{parent_of_name(name)}/tuningJobs/{job_id}")

    def _ended(self, name: str) -> None:
        """Report the end of a rebase."""
        operation = (self.store.get("tuningRuns", name) or {}).get("operation", "")
        if (self.store.get("operations", operation) or {"done": True}).get("done"):
            return
        job = self._job(name)
        if job["state"] == "JOB_STATE_SUCCEEDED":
            self.operations.finish(operation, "TuningJob", self._shown(job))
        else:
            ended = DeadlineExceeded(f"{name} ended as {job['state']}.").rpc_status()
            self.operations.fail(operation, job.get("error", ended))

    def sweep(self) -> None:
        """Remove the files of jobs that were never stored."""
        root = self.store.data_dir / "tuning"
        known = {job["name"].rsplit("/", 1)[-1] for job in self.store.list("tuningJobs")}
        for directory in _folders(root):
            if directory.name not in known:
                shutil.rmtree(directory, ignore_errors=True)


_NEWER_BASE: Final = "gemini-2.5-flash"
"""The base model of a rebase whose request names none."""


def _folders(root: Path) -> Iterator[Path]:
    return root.iterdir() if root.is_dir() else iter(())


def _link_all(files: list[Path], directory: Path) -> list[Path]:
    """Copies of the files with new names: the objects may change or be deleted."""
    directory.mkdir(parents=True)
    copies = [directory / name for name in ("training.source", "validation.source")[: len(files)]]
    for file, copy in zip(files, copies, strict=True):
        os.link(file, copy)
    return copies


def _inspect_all(sources: list[Path], spec: TuningSpec) -> list[Dataset]:
    """Check all datasets of a tuning job.

    :raises InvalidArgument: a row or file is wrong
    """
    legacy = spec.base.name.startswith(_LEGACY)
    datasets = [inspect(path, path.with_suffix(".jsonl"), spec.method, legacy=legacy) for path in sources]
    for path in sources:
        path.unlink()
    if len(datasets) > 1:
        check_validation(*datasets)
    return datasets
