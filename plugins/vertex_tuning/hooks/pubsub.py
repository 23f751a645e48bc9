"""Read a Pub/Sub subscription in the triggerer. The client is gRPC's asynchronous one: no thread waits for messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from google.pubsub_v1 import SubscriberAsyncClient

    from vertex_tuning.hooks.light_connection import LightConnection

MESSAGES_PER_PULL: Final = 1000
"""Most that the service returns: https://docs.cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/pull"""

ACK_IDS_PER_REQUEST: Final = 1000
"""An ack id has about 200 bytes, and a request at most 512 KiB."""

LEASE_SECONDS: Final = 600
"""Seconds in which a message is not delivered again: the service's maximum."""

REQUEST_SECONDS: Final = 30.0
"""Seconds for a request that does not wait for messages."""


class PubsubMessage(msgspec.Struct, frozen=True):
    """A message of a subscription.

    :param message_id: the same at each delivery
    :param ack_id: acknowledges this delivery
    :param attributes: for a notification of Cloud Storage: `eventType`, `bucketId`, `objectId` and others
    """

    message_id: str
    ack_id: str
    attributes: Mapping[str, str]


class PubsubSubscription:
    """A subscription, with its client. It belongs to one event loop.

    :param name: `projects/PROJECT/subscriptions/NAME`
    :param connect: returns the connection; it is called in a thread at the first request
    """

    def __init__(self, name: str, connect: Callable[[], LightConnection]) -> None:
        self.name = name
        self._connect = connect
        self._client: SubscriberAsyncClient | None = None

    async def pull(self, seconds: float) -> list[PubsubMessage]:
        """Wait for messages.

        :param seconds: longest wait
        :returns: the messages; empty if none came in this time
        :raises google.api_core.exceptions.GoogleAPICallError: the service refused the request or did not respond
        """
        from google.api_core.exceptions import DeadlineExceeded

        client = await self._connected()
        try:
            response = await client.pull(
                request={"subscription": self.name, "max_messages": MESSAGES_PER_PULL}, retry=None, timeout=seconds
            )
        except DeadlineExceeded:
            return []
        return [
            PubsubMessage(received.message.message_id, received.ack_id, dict(received.message.attributes))
            for received in response.received_messages
        ]

    async def extend(self, ack_ids: Sequence[str]) -> None:
        """Keep messages for `LEASE_SECONDS`, so that the service does not deliver them again in this time."""
        client = await self._connected()
        for part in _parts(ack_ids):
            await client.modify_ack_deadline(
                request={"subscription": self.name, "ack_ids": part, "ack_deadline_seconds": LEASE_SECONDS},
                timeout=REQUEST_SECONDS,
            )

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Have the service delete messages from the subscription."""
        client = await self._connected()
        for part in _parts(ack_ids):
            await client.acknowledge(request={"subscription": self.name, "ack_ids": part}, timeout=REQUEST_SECONDS)

    def reconnect(self) -> None:
        """Have the next request read the connection again. A request that is under way keeps its client."""
        self._client = None

    async def aclose(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client:
            await client.transport.close()

    async def _connected(self) -> SubscriberAsyncClient:
        if self._client is None:
            transport = await asyncio.to_thread(self._transport_arguments)
            self._client = _client(**transport)
        return self._client

    def _transport_arguments(self) -> dict[str, Any]:
        """Where to connect, and as whom. This imports the client, too, which takes a second."""
        from google import pubsub_v1  # noqa: F401

        connection = self._connect()
        return {"credentials": connection.get_credentials(), "endpoint": connection.pubsub_endpoint}


def _client(credentials: Any, endpoint: str) -> SubscriberAsyncClient:
    import grpc.aio
    from google.api_core.client_options import ClientOptions
    from google.pubsub_v1 import SubscriberAsyncClient
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

    scheme, _, host = endpoint.partition("://")
    if scheme == "http":  # an emulator of Pub/Sub takes no credentials
        channel = grpc.aio.insecure_channel(host)
        return SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
    options = ClientOptions(api_endpoint=host or None, universe_domain=credentials.universe_domain)
    return SubscriberAsyncClient(credentials=credentials, client_options=options)


def _parts(ack_ids: Sequence[str]) -> list[list[str]]:
    return [list(ack_ids[at : at + ACK_IDS_PER_REQUEST]) for at in range(0, len(ack_ids), ACK_IDS_PER_REQUEST)]
