"""A live emulator for tests, in this process, on a free port."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest
import uvicorn

from include.gcp_emulator.app import create_app
from include.gcp_emulator.settings import Settings
from tests.support.waiting import wait_until

FAST = Settings(data_dir=Path(), queue_seconds=0.02, experiment_seconds=0.02, cancel_seconds=0.02)
"""Pauses just long enough for each state to be seen."""


@contextmanager
def running_emulator(data_dir: Path | None = None, **settings: Any) -> Iterator[str]:
    """Run an emulator and give its base URL ("http://127.0.0.1:PORT").

    :param data_dir: where it keeps everything; a temporary directory when not given
    :param settings: fields of `Settings` that shall differ from `FAST`
    """
    with tempfile.TemporaryDirectory(prefix="gcp-emulator-") as temporary:
        chosen = replace(FAST, **({"data_dir": data_dir or Path(temporary)} | settings))
        with serving(chosen) as url:
            yield url


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the application with uvicorn in a thread until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(settings), log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    wait_until(lambda: server.started or not thread.is_alive(), 20, pause=0.01)
    assert server.started, "the emulator did not start"


def tell(url: str, kind: str, **rule: Any) -> None:
    """Tell an emulator what goes wrong (`faults`), how jobs run (`lifecycle`), or that quota is used up."""
    with httpx.Client(base_url=url) as client:
        client.post(f"/_internal/{kind}", json=rule).raise_for_status()


@contextmanager
def one_certificate(folder: Path) -> Iterator[None]:
    """Clients that are made meanwhile read one certificate, and not all there are.

    Nothing here speaks TLS, and reading them all takes each client 20 ms of processor time.

    :param folder: an existing one
    """
    bundle, end = Path(certifi.where()).read_text(), "-----END CERTIFICATE-----"
    first = folder / "one.pem"
    first.write_text(bundle[bundle.index("-----BEGIN") : bundle.index(end)] + end + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(first))
        yield


def upload(url: str, uri: str, rows: Iterable[Any] | bytes) -> str:
    """Put a dataset into the emulator's Cloud Storage over plain HTTP, making its bucket.

    :param uri: `gs://BUCKET/NAME`
    :param rows: JSON values, one per line, or the file's bytes
    :return: the URI
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    content = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
    with httpx.Client(base_url=url) as client:
        made = client.post("/storage/v1/b", params={"project": "p"}, json={"name": bucket})
        if made.status_code != 409:
            made.raise_for_status()
        parameters = {"uploadType": "media", "name": name}
        client.post(f"/upload/storage/v1/b/{bucket}/o", params=parameters, content=content).raise_for_status()
    return uri


def classification_rows(count: int = 60) -> list[dict[str, Any]]:
    """Rows that are learnt in a moment: the answer is a word of the question."""
    words = ("lost", "stolen", "late")
    return [
        {
            "contents": [
                {"role": "user", "parts": [{"text": f"My card is {words[i % 3]}, message {i}."}]},
                {"role": "model", "parts": [{"text": words[i % 3]}]},
            ]
        }
        for i in range(count)
    ]
