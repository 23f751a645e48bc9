"""Watch a Pub/Sub subscription for new data: its messages update the asset of a dataset.

The Google provider's `PubsubPullTrigger` acknowledges messages before Airflow has stored the event: a crash between the
two loses them. It also imports Pub/Sub's clients when a DAG file is parsed. This trigger imports them in the triggerer,
and acknowledges a message only after Airflow has stored the event, with the shared streams of Airflow 3.3. A message
may then arrive twice, which `skip_if_unchanged` turns into a skipped run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from vertex_tuning.datasets.manifest import is_own_object
from vertex_tuning.text.plain_text import plain

if TYPE_CHECKING:
    from vertex_tuning.hooks.light_connection import LightConnection
    from vertex_tuning.hooks.pubsub import PubsubMessage, PubsubSubscription

log = logging.getLogger(__name__)

OBJECTS_NAMED: Final = 100
"""Most objects that an event names: Airflow stores and shows all of its text."""

URI_SHOWN: Final = 1100
"""Cloud Storage limits the name of an object to 1024 bytes."""

BURST_MESSAGES: Final = 10_000
"""Messages after which a burst ends, whether or not more arrive."""


class NewDataTrigger(BaseEventTrigger):
    """Fires an event when messages have arrived at a Pub/Sub subscription. Use it in an `AssetWatcher`.

    Messages that arrive shortly after each other make one event. Of the notifications of Cloud Storage, only new
    objects count, and no objects that a run has written itself. Any other message counts. The event has `messages`,
    their number, and `objects`, the first `gs://` URIs. Watchers of one subscription share its messages.

    :param subscription: `projects/PROJECT/subscriptions/NAME`
    :param gcp_conn_id: the Google Cloud connection
    :param impersonation_chain: service account to impersonate, or a chain of accounts
    """

    def __init__(
        self,
        *,
        subscription: str,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.subscription = subscription
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", {
            "subscription": self.subscription,
            "gcp_conn_id": self.gcp_conn_id,
            "impersonation_chain": self.impersonation_chain,
        }

    def shared_stream_key(self) -> Hashable:
        return __name__, self.subscription, self.gcp_conn_id, str(self.impersonation_chain)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        from vertex_tuning.hooks.pubsub import PubsubSubscription

        return BurstReader(PubsubSubscription(kwargs["subscription"], partial(_connect, **kwargs)))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        async for event in shared_stream:
            yield TriggerEvent(event)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Not used: the triggerer reads the shared stream, which alone can say that an event is stored."""
        raise NotImplementedError(f"{type(self).__name__} has a shared stream.")
        yield  # makes this a generator


class BurstReader(SharedStreamProducer):
    """Gathers the messages of a subscription to bursts, and acknowledges them once Airflow has stored their event.

    An error never ends the stream: Airflow would start it again at once, without end. The next attempt waits instead.
    """

    poll_seconds: float = 60.0
    """Longest wait for the first message of a burst, in one request."""
    quiet_seconds: float = 30.0
    """A burst ends when no message has come for so long."""
    burst_seconds: float = 300.0
    """Longest burst. It is shorter than `LEASE_SECONDS`, in which no message is delivered again."""
    least_pause: float = 1.0
    """Seconds before the next request after an empty response, which the service may send early."""
    pauses: tuple[float, ...] = (5.0, 15.0, 60.0, 300.0)
    """Seconds before the next attempt after an error; the last pause repeats."""

    def __init__(self, subscription: PubsubSubscription) -> None:
        self._subscription = subscription
        self._failures = 0

    async def open_stream(self) -> AsyncIterator[tuple[dict[str, Any], list[str]]]:
        """Yield an event and the ack ids of its messages for each burst."""
        while True:
            try:
                burst = await self._burst()
            except Exception as error:  # noqa: BLE001 - a person may mend the subscription or the connection
                await self._pause(error)
                continue
            self._failures = 0
            if burst:
                yield _event(burst), [message.ack_id for message in burst]

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Acknowledge the messages of stored events. The service delivers the others again."""
        ack_ids = [ack_id for item in batch if item.outcome.is_clean for ack_id in item.broker_payload]
        try:
            await self._subscription.acknowledge(ack_ids)
        except Exception as error:  # noqa: BLE001 - the messages come again, and their run is skipped
            log.warning(
                "%s: %d of its messages not acknowledged: %s", self._subscription.name, len(ack_ids), _text(error)
            )

    async def aclose(self) -> None:
        await self._subscription.aclose()

    async def _burst(self) -> list[PubsubMessage]:
        """The messages that arrive shortly after each other, each once; empty if none arrives."""
        messages: dict[str, PubsubMessage] = {}
        ends = time.monotonic() + self.burst_seconds
        while len(messages) < BURST_MESSAGES:
            left = ends - time.monotonic()
            wait = min(self.quiet_seconds, left) if messages else self.poll_seconds
            if not (new := await self._pull(wait)):
                break
            # A later delivery of the same message has the ack id that counts.
            messages |= {message.message_id: message for message in new}
        return list(messages.values())

    async def _pull(self, seconds: float) -> list[PubsubMessage]:
        """Wait for messages that stand for new data. Others are acknowledged, and do not end the wait."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            pulled = await self._subscription.pull(left)
            new = [message for message in pulled if is_new_data(message)]
            if other := [message.ack_id for message in pulled if not is_new_data(message)]:
                await self._subscription.acknowledge(other)
            if new:
                await self._subscription.extend([message.ack_id for message in new])
                return new
            if not pulled:
                await asyncio.sleep(min(self.least_pause, left))
        return []

    async def _pause(self, error: Exception) -> None:
        seconds = self.pauses[min(self._failures, len(self.pauses) - 1)]
        self._failures += 1
        log.error("%s cannot be read; next attempt in %.0f s: %s", self._subscription.name, seconds, _text(error))
        self._subscription.reconnect()
        await asyncio.sleep(seconds)


def is_new_data(message: PubsubMessage) -> bool:
    """Whether a message stands for new data.

    A notification of Cloud Storage stands for new data if an object was written, and if no run wrote it: the data and
    the report of a run would start the next one, without end.
    """
    kind = message.attributes.get("eventType")
    if kind is None:
        return True
    return kind == "OBJECT_FINALIZE" and not is_own_object(message.attributes.get("objectId", ""))


def _event(messages: Sequence[PubsubMessage]) -> dict[str, Any]:
    fields = [message.attributes for message in messages]
    uris = [f"gs://{each['bucketId']}/{each['objectId']}" for each in fields if {"bucketId", "objectId"} <= each.keys()]
    objects = [plain(uri, URI_SHOWN) for uri in dict.fromkeys(uris)]
    return {"messages": len(messages), "objects": objects[:OBJECTS_NAMED]}


def _connect(subscription: str, **connection: Any) -> LightConnection:
    from vertex_tuning.hooks.light_connection import LightConnection

    _, project, *_ = subscription.split("/")
    return LightConnection(location="global", project_id=project, **connection)


def _text(error: Exception) -> str:
    return plain(f"{type(error).__name__}: {error}", URI_SHOWN)
