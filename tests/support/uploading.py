"""Uploads in processes of their own, that can be killed, and a connection that damages what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event

from vertex_tuning.hooks import storage, uploads
from vertex_tuning.hooks.connection import GoogleConnection

FORKS = multiprocessing.get_context("forkserver")
PRELOADED = ["vertex_tuning.hooks.storage", "google.cloud.storage", "airflow.sdk", "tests.support.uploading"]


def start_upload(path: str, name: str, parallel_from: int) -> ForkServerProcess:
    """Upload a file to `gs://bucket/NAME` in a process of its own, with the connection of this one.

    :returns: the process, which has just begun
    """
    # The server that makes the processes imports what they need once, from where we do.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    FORKS.set_forkserver_preload(PRELOADED)
    environment = {key: value for key, value in os.environ.items() if key.startswith("AIRFLOW")}
    begun = FORKS.Event()
    process = FORKS.Process(target=_upload, args=(path, name, parallel_from, environment, begun), daemon=True)
    process.start()
    begun.wait(30)
    return process


def _upload(path: str, name: str, parallel_from: int, environment: dict[str, str], begun: Event) -> None:
    os.environ |= environment
    storage.PARALLEL_FROM = parallel_from  # type: ignore[attr-defined]
    uploads.MIN_PART = 1024 * 1024  # type: ignore[misc]
    hook = storage.StorageHook(GoogleConnection(location="us-central1"))
    assert hook.storage
    begun.set()
    hook.upload_once(path, "bucket", name)


@contextmanager
def damaging(url: str, mark: bytes, times: int) -> Iterator[str]:
    """A way to a server on which the first so many occurrences of a text in requests are changed.

    :returns: the address to use instead
    """
    host, _, port = url.removeprefix("http://").partition(":")
    left = times

    async def forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        nonlocal left
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if left and mark in data:
                    left, data = left - 1, data.replace(mark, mark[::-1], 1)
                target.write(data)
                await target.drain()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(forward(reader, server_writer), forward(server_reader, writer))
        finally:
            writer.close()
            server_writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(connect, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _stop(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
