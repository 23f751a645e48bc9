"""The one method of Vertex AI's gRPC JobService that Google's trigger calls, on this machine, over TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.cloud.aiplatform_v1.types import GetHyperparameterTuningJobRequest, HyperparameterTuningJob, JobState


class JobService:
    """Answers with a job that runs until its end has been set and has come."""

    def __init__(self) -> None:
        self.calls = 0
        self.ends: dict[str, float] = {}
        self._lock = threading.Lock()

    def get(self, request: GetHyperparameterTuningJobRequest, _: grpc.ServicerContext) -> HyperparameterTuningJob:
        with self._lock:
            self.calls += 1
        ended = time.time() >= self.ends.get(request.name.rpartition("/")[2], float("inf"))
        state = JobState.JOB_STATE_SUCCEEDED if ended else JobState.JOB_STATE_RUNNING
        return HyperparameterTuningJob(name=request.name, display_name="bench", max_trial_count=1, state=state)

    def handler(self) -> grpc.GenericRpcHandler:
        get = grpc.unary_unary_rpc_method_handler(
            self.get, GetHyperparameterTuningJobRequest.deserialize, HyperparameterTuningJob.serialize
        )
        service = "google.cloud.aiplatform.v1.JobService"
        return grpc.method_handlers_generic_handler(service, {"GetHyperparameterTuningJob": get})


@contextmanager
def serving(service: JobService, key: bytes, certificate: bytes) -> Iterator[int]:
    """Serve until the block ends, and give the port."""
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((service.handler(),))
    port: int = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, certificate)]))
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
