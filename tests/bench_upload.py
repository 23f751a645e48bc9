"""Uploading to the local Google Cloud: ours beside the official client's plain `upload_from_filename`.

`python -m tests.bench_upload`; the dataset benchmark calls `measure`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
from rich.console import Console
from rich.table import Table

from tests.emulator.process import emulator_process

if TYPE_CHECKING:
    from vertex_tuning.hooks.connection import GoogleConnection
    from vertex_tuning.hooks.storage import StorageHook

BUCKET = "benchmark"
ROUNDS = 5
GOAL = 0.9


class Uploads(NamedTuple):
    """Throughput of the best round in MB/s, and the requests with content a second upload of the same file made."""

    megabytes: float
    plain: float
    ours: float
    sent_again: int

    @property
    def share(self) -> float:
        return self.ours / self.plain


def measure(hook: StorageHook, url: str, path: Path, rounds: int = ROUNDS) -> Uploads:
    """Upload a file both ways, in turns; the best of each counts, as everything else on the machine only slows down.

    :param hook: with a connection to the emulator at this URL
    """
    httpx.post(f"{url}/storage/v1/b", params={"project": "p"}, json={"name": BUCKET})
    bucket, size = hook.storage.bucket(BUCKET), path.stat().st_size
    plain, ours = [], []
    for _ in range(rounds):
        plain.append(_timed(lambda: bucket.blob("plain").upload_from_filename(str(path))))
        ours.append(_timed(lambda: hook.upload_once(str(path), BUCKET, "ours")))
        for name in ("plain", "ours"):
            bucket.blob(name).delete()
    hook.upload_once(str(path), BUCKET, "ours")
    httpx.delete(f"{url}/_internal/requests")
    hook.upload_once(str(path), BUCKET, "ours")
    counts = httpx.get(f"{url}/_internal/requests").json()["counts"]
    sent_again = sum(sum(counts.get(f"storage.objects.{method}", {}).values()) for method in ("insert", "compose"))
    bucket.blob("ours").delete()
    return Uploads(size / 1e6, size / 1e6 / min(plain), size / 1e6 / min(ours), sent_again)


def _timed(upload: Callable[[], object]) -> float:
    started = time.perf_counter()
    upload()
    return time.perf_counter() - started


def print_results(results: list[Uploads], console: Console) -> None:
    table = Table(title="Uploading to the local Google Cloud", title_justify="left", title_style="bold")
    for head in ("MB", "upload_from_filename, MB/s", "upload_once, MB/s", f"share (goal {GOAL})", "sent a second time"):
        table.add_column(head, justify="right")
    for one in results:
        cells = (f"{one.megabytes:.0f}", f"{one.plain:.0f}", f"{one.ours:.0f}", f"{one.share:.2f}", str(one.sent_again))
        table.add_row(*cells)
    console.print(table)


def main() -> int:
    """Measure and print; exits with 0 whether or not the goal is met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench_upload", description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 100], help="sizes (default 10 and 100)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-upload-") as home, emulator_process() as (_, url):
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
        sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))
        results = [_measure_size(url, Path(home) / "rows", size) for size in arguments.megabytes]
    print_results(results, Console())
    return 0


def _measure_size(url: str, path: Path, megabytes: int) -> Uploads:
    # Only now, because Airflow reads its configuration when it is imported.
    from vertex_tuning.hooks.storage import StorageHook

    from tests.support.google_cloud import connection

    os.environ["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = connection(url)
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return measure(StorageHook(GoogleConnection(location="us-central1")), url, path)


if __name__ == "__main__":
    sys.exit(main())
