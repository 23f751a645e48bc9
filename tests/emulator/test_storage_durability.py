"""What survives when the emulator is killed, and how much memory large content takes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.emulator.process import is_healthy
from tests.emulator.storage_support import QUANTUM, Http, http_bucket, md5
from tests.support.waiting import wait_until

MIB = 2**20


class Server:
    """An emulator in a process of its own, with its own data."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "include.gcp_emulator", "--port", str(self.port), "--log-level", "warning"]
        self.process = subprocess.Popen([*command, "--data-dir", str(self.data_dir)])
        wait_until(lambda: is_healthy(self.url))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def memory(self, which: str) -> int:
        """`VmRSS`, or its peak `VmHWM`, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        match = re.search(rf"{which}:\s+(\d+) kB", status)
        assert match
        return int(match[1]) // 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    yield server
    server.kill()


@pytest.fixture
def http(server: Server) -> Iterator[Http]:
    with http_bucket(server.url, versioning={"enabled": True}) as http:
        yield http


def test_everything_survives_a_kill(server: Server, http: Http) -> None:
    content = os.urandom(2 * QUANTUM)
    first = http.put("a", b"1")
    made = http.put("a", b"2", ifGenerationMatch=first["generation"])
    session = http.start("resumed", {"x-upload-content-type": "x/y"}, ifGenerationMatch=0)
    http.chunk(session, content[:QUANTUM], f"0-{QUANTUM - 1}/*")
    finished = http.start("finished")
    generation = http.chunk(finished, b"abc", "0-2/3").json()["generation"]
    root = http.client.post(f"/{http.bucket}/parts?uploads").text
    upload = {"uploadId": re.findall("<UploadId>(.*)</UploadId>", root)[0]}
    etag = http.client.put(f"/{http.bucket}/parts", params=upload | {"partNumber": "1"}, content=b"p").headers["etag"]

    server.kill()
    server.start()

    assert http.client.get(http.object("a")).json() == made
    assert [http.read("a", generation=g) for g in (first["generation"], made["generation"])] == [b"1", b"2"]
    assert int(http.put("a", b"3")["generation"]) > int(made["generation"])
    assert http.chunk(session, b"", "*/*").headers["range"] == f"bytes=0-{QUANTUM - 1}"
    resumed = http.chunk(session, content[QUANTUM:], f"{QUANTUM}-{2 * QUANTUM - 1}/{2 * QUANTUM}").json()
    assert (resumed["md5Hash"], resumed["contentType"]) == (md5(content), "x/y")
    assert http.chunk(finished, b"", "*/*").json()["generation"] == generation
    body = f"<C><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></C>"
    assert http.client.post(f"/{http.bucket}/parts", params=upload, content=body).status_code == 200
    assert http.read("parts") == b"p"


def test_killed_in_the_middle_of_uploads(server: Server, http: Http) -> None:
    http.put("a", b"kept")
    session = http.start("resumed")
    head = f"Host: 127.0.0.1\r\nContent-Length: {10 * QUANTUM}\r\n"
    with contextlib.ExitStack() as open_connections:
        for count, request in enumerate(
            (f"POST {http.uploads}?uploadType=media&name=a", f"PUT {session.removeprefix(server.url)}"), start=1
        ):
            half = open_connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            half.sendall(f"{request} HTTP/1.1\r\n{head}\r\n".encode() + b"x" * (QUANTUM + 1000))
            _wait_for_files(server.data_dir / "objects", QUANTUM + 1000, count)
        server.kill()
    server.start()
    assert http.read("a") == b"kept"
    assert http.chunk(session, b"", "*/*").headers["range"] == f"bytes=0-{QUANTUM - 1}"
    assert len(list((server.data_dir / "objects").iterdir())) == 2, "what nothing names is removed"


def _wait_for_files(directory: Path, size: int, count: int) -> None:
    wait_until(lambda: sum(path.stat().st_size >= size for path in directory.iterdir()) >= count, pause=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_content_is_not_held_in_memory(server: Server, http: Http) -> None:
    size = 200 * MIB

    def blocks() -> Iterator[bytes]:
        for number in range(size // MIB):
            yield bytes([number % 256]) * MIB

    http.put("small")
    http.read("small")
    before = server.memory("VmRSS")
    query = {"uploadType": "media", "name": "a"}
    media = http.client.post(http.uploads, params=query, content=blocks())
    resumable = http.client.put(http.start("b"), content=blocks())
    assert (media.json()["size"], resumable.json()["size"]) == (str(size), str(size))
    assert media.json()["md5Hash"] == resumable.json()["md5Hash"]
    body = {"sourceObjects": [{"name": "a"}, {"name": "b"}]}
    assert http.client.post(f"{http.object('c')}/compose", json=body, timeout=60).json()["size"] == str(2 * size)
    with http.client.stream("GET", http.object("a"), params={"alt": "media"}) as response:
        assert sum(len(block) for block in response.iter_raw()) == size
    grown = server.memory("VmHWM") - before
    assert grown < 50, f"grew by {grown} MiB"


def test_other_requests_are_answered_meanwhile(server: Server, http: Http) -> None:
    """The slowest of the calls made while 200 MiB arrive and are hashed."""
    http.put("small")

    def blocks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * MIB
            started = time.perf_counter()
            assert other.get(http.object("small")).status_code == 200
            times.append(time.perf_counter() - started)

    times: list[float] = []
    with httpx.Client(base_url=server.url) as other:
        http.client.put(http.start("a"), content=blocks(), timeout=60)
    assert sorted(times)[int(len(times) * 0.95)] < 0.25
