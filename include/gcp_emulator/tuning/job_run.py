"""One tuning job from PENDING to its end: the order of its states, and the fields that each state adds."""

from __future__ import annotations

import asyncio
import logging
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from ..base_models import BASE_MODELS
from ..errors import ApiError, Internal
from ..experiments.service import ExperimentsService
from ..model.trainer import Checkpoint, Done, Evaluation, Event, Failed, Step, Trainer, TrainRequest
from ..names import parent_of, timestamp
from ..registry.service import RegistryService
from ..settings import Settings
from ..state import Resource, Store
from .policies import Policy, failure_of

log = logging.getLogger(__name__)

ENDED: Final = frozenset(
    f"JOB_STATE_{state}" for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")
)
_DEPLOYMENT_FAILED: Final = (
    "Failed to create endpoint. Tuned model is uploaded and can be accessed through Model Registry."
)


@dataclass(frozen=True)
class Services:
    """The services that a run uses."""

    store: Store
    settings: Settings
    trainer: Trainer
    experiments: ExperimentsService
    registry: RegistryService


class JobRun:
    """One job from start to end. It may be stopped at any await; `begin_again` undoes an interrupted run.

    :param name: the job's resource name. The store holds its resource and its run record
    """

    def __init__(self, name: str, services: Services) -> None:
        self.name = name
        self.services = services
        self.record = services.store.get("tuningRuns", name) or {}
        self.policy = msgspec.convert(self.record["policy"], Policy)
        self.gate, self.moved = asyncio.Event(), asyncio.Event()

    @property
    def job(self) -> Resource:
        return self.services.store.get("tuningJobs", self.name) or {}

    def update(self, **fields: Any) -> None:
        """Change the job's fields; None removes one."""
        changed = self.job | fields | {"updateTime": timestamp()}
        kept = {key: value for key, value in changed.items() if value is not None}
        self.services.store.put("tuningJobs", self.name, kept)
        if "state" in fields or "tuningJobState" in fields:
            self.moved.set()

    def note(self, **fields: Any) -> None:
        """Change the run's record, which no client sees."""
        self.record = (self.services.store.get("tuningRuns", self.name) or {}) | fields
        self.services.store.put("tuningRuns", self.name, self.record)

    async def pause(self, seconds: float) -> None:
        """Let time pass, or wait for a request to go on."""
        if self.policy.manual:
            await self.gate.wait()
            self.gate.clear()
        else:
            await asyncio.sleep(seconds * self.policy.time_scale)

    async def go(self) -> None:
        """Run the job to its end.

        :raises ApiError: the job failed; the error has the reason
        """
        if self.policy.script is not None:
            await self._follow_script()
        else:
            await self._run()

    async def _run(self) -> None:
        settings = self.services.settings
        if self.job["state"] != "JOB_STATE_RUNNING":
            self.update(state="JOB_STATE_PENDING", tuningJobState="TUNING_JOB_STATE_WAITING_FOR_CAPACITY")
            await self.pause(settings.queue_seconds)
        self._enter_running("TUNING_JOB_STATE_PROCESSING_DATASET")
        await self.pause(settings.experiment_seconds)
        self._show_experiment()
        self.update(tuningJobState="TUNING_JOB_STATE_TUNING")
        await self._train()
        self.update(tuningJobState="TUNING_JOB_STATE_POST_PROCESSING")
        await self.pause(0)
        self._deploy("JOB_STATE_SUCCEEDED")

    def _enter_running(self, detail: str | None) -> None:
        started = self.job.get("startTime", timestamp())
        self.update(state="JOB_STATE_RUNNING", startTime=started, tuningJobState=detail)

    def _show_experiment(self) -> None:
        if "experiment" in self.job:
            return
        with self.services.store.transaction():
            experiment = self.services.experiments.create(parent_of(self.name), tuning_job=self.name)
            self.update(experiment=experiment, tuningDataStats=self.record["dataStats"])

    async def _train(self) -> None:
        events: asyncio.Queue[Event] = asyncio.Queue()
        self._check_failure(0)
        (self.directory / "checkpoints").mkdir(parents=True, exist_ok=True)
        self.services.trainer.submit(self._request(), events.put_nowait)
        handlers: dict[type, Callable[[Any], None]] = {
            Step: self._on_step,
            Evaluation: self._on_evaluation,
            Checkpoint: self._on_checkpoint,
        }
        try:
            while not isinstance(event := await events.get(), Done):
                if isinstance(event, Failed):
                    raise Internal(event.message)
                handlers[type(event)](event)
                await asyncio.sleep(0)
        finally:
            self.services.trainer.cancel(self.name)

    def _request(self) -> TrainRequest:
        record = self.record
        return TrainRequest(
            job=self.name,
            training=self.directory / "training.jsonl",
            validation=self.directory / "validation.jsonl" if record["validation"] else None,
            method=record["method"],
            epochs=record["epochs"],
            learning_rate_multiplier=record["multiplier"],
            adapter_rank=record["adapter"],
            beta=record["beta"],
            base_weights=Path(record["baseWeights"]) if record["baseWeights"] else None,
            output_dir=self.directory / "checkpoints",
            last_checkpoint_only=record["lastCheckpointOnly"],
            step_seconds=self.services.settings.step_seconds * self.policy.time_scale,
            seed=record["seed"],
        )

    @property
    def directory(self) -> Path:
        return job_directory(self.services.store, self.name)

    def _check_failure(self, step: int) -> None:
        failure = self.policy.failure
        if failure and not failure.at_deployment and step >= failure.step:
            raise failure_of(failure)

    def _on_step(self, event: Step) -> None:
        if "tuningStepCount" not in next(iter(self.job["tuningDataStats"].values())):
            self._show_step_count(event.total_steps)
        self._append(event.step, event.metrics)
        progress = {"completedEpochCount": str(event.epoch - 1), "completedStepCount": str(event.step)}
        self.update(tuningJobMetadata=progress)
        self._check_failure(event.step)

    def _show_step_count(self, steps: int) -> None:
        (kind, stats), *_ = self.job["tuningDataStats"].items()
        self.update(tuningDataStats={kind: stats | {"tuningStepCount": str(steps)}})

    def _on_evaluation(self, event: Evaluation) -> None:
        self._append(event.step, event.metrics)

    def _append(self, step: int, metrics: dict[str, float]) -> None:
        self.services.experiments.append(self.job["experiment"], step, metrics, timestamp())

    def _on_checkpoint(self, event: Checkpoint) -> None:
        """Upload the model with its first checkpoint, and deploy each checkpoint to a new endpoint."""
        checkpoint = {"checkpointId": event.checkpoint_id, "epoch": str(event.epoch), "step": str(event.step)}
        with self.services.store.transaction():
            self._add_checkpoint(checkpoint, event.weights)
            self.update(tuningJobMetadata=self.job["tuningJobMetadata"] | {"completedEpochCount": str(event.epoch)})

    def _add_checkpoint(self, checkpoint: Resource, weights: Path) -> None:
        if not self.record.get("version"):
            self.note(version=self._publish())
        self.services.registry.add_checkpoint(self.record["version"], checkpoint, weights)
        if not self._fails_at_deployment and not self.record["lastCheckpointOnly"]:
            endpoint = self._endpoint(checkpoint["checkpointId"])
            tuned = self.job.get("tunedModel") or {"model": self.record["version"], "checkpoints": []}
            tuned["checkpoints"].append(checkpoint | {"endpoint": endpoint})
            self.update(tunedModel=tuned)

    @property
    def _fails_at_deployment(self) -> bool:
        return bool(self.policy.failure and self.policy.failure.at_deployment)

    def _publish(self) -> str:
        base, job = BASE_MODELS[self.record["base"]], self.job
        labels = job.get("labels", {}) | {
            "google-vertex-llm-tuning-base-model-id": base.name,
            "google-vertex-llm-tuning-job-id": self.name.rsplit("/", 1)[-1],
            "tune-type": "sft" if self.record["method"] == "supervised" else "dpo",
        }
        return self.services.registry.publish_model(
            parent_of(self.name), job["tunedModelDisplayName"], base, labels,
            description=job.get("description", ""), version_of=self.record["versionOf"],
        )  # fmt: skip

    def _endpoint(self, checkpoint_id: str | None) -> str:
        base = BASE_MODELS[self.record["base"]]
        return self.services.registry.create_endpoint(self.record["version"], base, checkpoint_id)

    def _deploy(self, end: str) -> None:
        """Name the tuned model and the endpoint of its default checkpoint, and end the job in the state `end`."""
        if self._fails_at_deployment:
            self.services.registry.make_default(self.record["version"])
            self.update(tunedModel={"model": self.record["version"]})
            raise Internal(_DEPLOYMENT_FAILED)
        with self.services.store.transaction():
            self.services.registry.make_default(self.record["version"])
            self.update(tunedModel=self._deployed(self.job.get("tunedModel") or {"model": self.record["version"]}))
            self._finish(end)
        self._remove_data()

    def _deployed(self, tuned: Resource) -> Resource:
        """The tuned model with its endpoint: the requested endpoint, that of its last checkpoint, or a new one."""
        checkpoints = tuned.get("checkpoints")
        endpoint = self.record["deployTo"] or (checkpoints[-1]["endpoint"] if checkpoints else self._endpoint(None))
        if self.record["deployTo"]:
            self.services.registry.deploy(endpoint, self.record["version"])
        return tuned | {"endpoint": endpoint}

    async def _follow_script(self) -> None:
        """Go through the scripted states and metrics. Nothing is trained, so the model has no weights."""
        for item in self.policy.script or []:
            if item.state == "JOB_STATE_RUNNING":
                self._enter_running(None)
                self._show_experiment()
                self._show_metrics()
                self._check_failure(0)
            else:
                self.update(state=item.state)
            await self.pause(item.seconds)
        if self.policy.final_state == "JOB_STATE_EXPIRED":
            return self.finish(self.policy.final_state)
        with self.services.store.transaction():
            self.note(version=self._publish())
        return self._deploy(self.policy.final_state)

    def _show_metrics(self) -> None:
        for step in range(max(map(len, self.policy.metrics.values()), default=0)):
            self._append(
                step + 1, {key: values[step] for key, values in self.policy.metrics.items() if step < len(values)}
            )

    def finish(self, state: str, error: ApiError | None = None) -> None:
        """End the job. A model without a deployment is removed."""
        with self.services.store.transaction():
            self._finish(state, error)
        self._remove_data()

    def _finish(self, state: str, error: ApiError | None = None) -> None:
        if "experiment" in self.job:
            outcome = {"JOB_STATE_SUCCEEDED": "COMPLETE", "JOB_STATE_CANCELLED": "KILLED"}.get(state, "FAILED")
            self.services.experiments.finish(self.job["experiment"], outcome)
        uploaded = self._fails_at_deployment and "tunedModel" in self.job
        if state in ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED") and not uploaded:
            self._take_back()
        self.update(state=state, endTime=timestamp(), tuningJobState=None, error=error.rpc_status() if error else None)

    def _remove_data(self) -> None:
        """Call this only after the job's end is stored: a job without a stored end is trained again."""
        for file in ("training.jsonl", "validation.jsonl"):
            (self.directory / file).unlink(missing_ok=True)

    def begin_again(self) -> None:
        """Undo the visible results of an interrupted run, so that nothing exists twice."""
        if "experiment" in self.job:
            self.services.experiments.clear(self.job["experiment"])
        self._take_back()
        self.update(tuningJobMetadata=None)

    def _take_back(self) -> None:
        if self.record.get("version"):
            self.services.registry.withdraw(self.record["version"])
            self.note(version=None)
        self.update(tunedModel=None)
        shutil.rmtree(self.directory / "checkpoints", ignore_errors=True)


def job_directory(store: Store, name: str) -> Path:
    """The folder of a job's dataset copies and checkpoints. Ids are digits only."""
    return store.data_dir / "tuning" / name.rsplit("/", 1)[-1]


def seed_of(*parts: object) -> int:
    """The seed of a job, made from its base model, data and hyper-parameters."""
    return zlib.crc32(repr(parts).encode())
