"""Runs contestants one after the other, each in a process of its own, several rounds; the best round counts."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tests.bench_dataset import contestants

MIB = 2**20


class Result(msgspec.Struct):
    """
    :param seconds: of the best round
    :param peak: resident memory of the process at its largest, bytes; without those it starts
    """

    name: str
    rows: int
    size: int
    seconds: float
    peak: int

    @property
    def speed(self) -> float:
        """MiB/s."""
        return self.size / MIB / self.seconds


def measure(names: list[str], path: Path, rounds: int) -> dict[str, Result]:
    """
    :param names: functions of `contestants`
    :param rounds: in each of which all take their turn, so that a busy moment hits all alike
    """
    best: dict[str, Result] = {}
    for _ in range(rounds):
        for name in names:
            result = _one(name, path)
            if name not in best or result.seconds < best[name].seconds:
                best[name] = result
    return best


def _one(name: str, path: Path) -> Result:
    command = [sys.executable, "-m", "tests.bench_dataset.measuring", name, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Result)


def peak_memory() -> int:
    """Linux's own figure; that of `getrusage` begins with what the parent process has."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def _main(name: str, path: Path) -> None:
    """Imports are done before the clock starts, in all alike."""
    import numpy  # noqa: F401 - ours needs it at the end

    started = time.perf_counter()
    rows = getattr(contestants, name)(path)
    seconds = time.perf_counter() - started
    result = Result(name, rows, path.stat().st_size, seconds, peak_memory())
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
