"""A stand-in for Pub/Sub: one subscription, and the three methods that are called, over gRPC."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

SUBSCRIPTION = "projects/test-project/subscriptions/new-data"
SERVICE = "google.pubsub.v1.Subscriber"


@dataclass
class Delivery:
    """A message that was not acknowledged yet."""

    message: types.PubsubMessage
    ack_id: str = ""
    free_at: float = 0.0


@dataclass
class PubsubService:
    """The state of the service.

    :param url: its base URL, once it runs
    :param failures: statuses of the next requests of each method, instead of a response
    :param ack_deadline: seconds until a message is delivered again
    """

    url: str = ""
    failures: dict[str, list[grpc.StatusCode]] = field(default_factory=lambda: defaultdict(list))
    ack_deadline: float = 0.3
    acknowledged: list[str] = field(default_factory=list)
    extended: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _deliveries: dict[str, Delivery] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _count: int = 0

    def publish(self, **attributes: str) -> str:
        """:returns: the id of the message"""
        with self._lock:
            self._count += 1
            message_id = str(self._count)
            message = types.PubsubMessage(message_id=message_id, attributes=attributes, data=b"{}")
            self._deliveries[message_id] = Delivery(message)
        return message_id

    def write(self, name: str, kind: str = "OBJECT_FINALIZE") -> str:
        """Publish the notification of an object, as Cloud Storage does."""
        attributes = {"eventType": kind, "bucketId": "my-bucket", "objectId": name, "payloadFormat": "JSON_API_V1"}
        return self.publish(**attributes)

    @property
    def unacknowledged(self) -> set[str]:
        with self._lock:
            return set(self._deliveries)

    def pull(self, request: types.PullRequest, context: grpc.ServicerContext) -> types.PullResponse:
        self._begin("Pull", request.subscription, context)
        for _ in range(20):  # the service waits for a while, and then returns nothing
            if due := self._due(request.max_messages):
                return types.PullResponse(
                    received_messages=[types.ReceivedMessage(ack_id=each.ack_id, message=each.message) for each in due]
                )
            time.sleep(0.01)
        return types.PullResponse()

    def modify(self, request: types.ModifyAckDeadlineRequest, context: grpc.ServicerContext) -> Empty:
        self._begin("ModifyAckDeadline", request.subscription, context)
        with self._lock:
            for each in self._deliveries.values():
                if each.ack_id in request.ack_ids:
                    each.free_at = time.monotonic() + request.ack_deadline_seconds
            self.extended.append(request.ack_deadline_seconds)
        return Empty()

    def acknowledge(self, request: types.AcknowledgeRequest, context: grpc.ServicerContext) -> Empty:
        self._begin("Acknowledge", request.subscription, context)
        with self._lock:
            done = [name for name, each in self._deliveries.items() if each.ack_id in request.ack_ids]
            for message_id in done:
                del self._deliveries[message_id]
            self.acknowledged += done
        return Empty()

    def forget_leases(self) -> None:
        """Deliver all messages again, as after the end of their deadlines."""
        with self._lock:
            for each in self._deliveries.values():
                each.free_at = 0.0

    def _due(self, most: int) -> list[Delivery]:
        with self._lock:
            now = time.monotonic()
            due = [each for each in self._deliveries.values() if each.free_at <= now][:most]
            for each in due:
                each.ack_id, each.free_at = f"{each.message.message_id}-{now}", now + self.ack_deadline
            return due

    def _begin(self, method: str, subscription: str, context: grpc.ServicerContext) -> None:
        self.requests.append(method)
        if self.failures[method]:
            context.abort(self.failures[method].pop(0), "as the test wants it")
        if subscription != SUBSCRIPTION:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={subscription}).")


@contextmanager
def running_pubsub() -> Iterator[PubsubService]:
    service = PubsubService()
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([_handlers(service)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    service.url = f"http://127.0.0.1:{port}"
    try:
        yield service
    finally:
        server.stop(grace=None).wait()


def _handlers(service: PubsubService) -> grpc.GenericRpcHandler:
    calls = {
        "Pull": (service.pull, types.PullRequest.deserialize, types.PullResponse.serialize),
        "ModifyAckDeadline": (service.modify, types.ModifyAckDeadlineRequest.deserialize, Empty.SerializeToString),
        "Acknowledge": (service.acknowledge, types.AcknowledgeRequest.deserialize, Empty.SerializeToString),
    }
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(call, request_deserializer=read, response_serializer=write)
            for name, (call, read, write) in calls.items()
        },
    )
