"""Files that a check must survive: floods of lines, bombs, endless rows. The command line checks one of them."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from vertex_tuning.datasets.prepare import DatasetOptions, Source, prepare

from tests.bench_dataset.measuring import MIB, peak_memory

SECONDS_OF_100_MB: Final = 30
MEMORY: Final = 200 * MIB
EXPANSION: Final = 2
"""Times the input that temporary files may take."""
SLACK: Final = 20 * MIB
"""The findings that are kept, and the rows of a bomb, take this much for a file of any size."""
_ROW: Final = b'{"contents":[{"role":"user","parts":[{"text":"q"}]},{"role":"model","parts":[{"text":"a"}]}]}\n'
_MANY_PARTS: Final = b",".join([b'{"text":"a"}'] * 250_000)
_REPEATED: Final = {
    "empty-lines.jsonl": b"\n",
    "windows-empty-lines.jsonl": b"\r\n",
    "blank-lines.jsonl": b" \n",
    "one-character-lines.jsonl": b"x\n",
    "numbers.jsonl": b"1\n",
    "empty-objects.jsonl": b"{}\n",
    "empty-chats.jsonl": b'{"messages":[]}\n',
    "deep-lists.jsonl": b"[" * 5000 + b"\n",
    "rows-between-empty-lines.jsonl": b"\n" * 5000 + _ROW,
    "a-line-without-end.jsonl": b"x" * 1000,
    "a-million-parts.jsonl": b'{"contents":[{"role":"user","parts":[' + _MANY_PARTS + b"]}]}\n",
}
_RECORDS: Final = {"empty-lines.csv": b"\n", "one-character-lines.csv": b"x\n", "open-quotes.csv": b'"\n'}
_BOMBS: Final = {"zeros.jsonl.gz": b"\0", "empty-lines.jsonl.gz": b"\n", "rows.jsonl.gz": _ROW}
NAMES: Final = [*_REPEATED, *_RECORDS, *_BOMBS]
_UNPACKED: Final = 10
"""Times the size that a compressed file unpacks to."""


class Endurance(msgspec.Struct):
    """What the check of a file took.

    :param seconds: wall time
    :param peak: resident memory at its largest, bytes
    :param temporary: size of the files that were left for the upload and the report, bytes
    :param errors: number of errors by kind
    """

    seconds: float
    peak: int
    temporary: int
    errors: dict[str, int]

    def is_bounded(self, size: int) -> bool:
        """Whether the check kept all limits for a file of this many bytes."""
        return (
            self.seconds <= SECONDS_OF_100_MB * max(1, size / 1e8)
            and self.peak <= MEMORY
            and self.temporary <= EXPANSION * size + SLACK
        )


def write(folder: Path, size: int) -> list[Path]:
    """Write all hostile files, each of about this many bytes; a compressed one unpacks to more."""
    written = [_repeat(folder / name, b"", unit, size) for name, unit in _REPEATED.items()]
    written += [_repeat(folder / name, b"prompt,response\n", unit, size) for name, unit in _RECORDS.items()]
    return written + [_repeat(folder / name, b"", unit, _UNPACKED * size, gzip.open) for name, unit in _BOMBS.items()]


def _repeat(path: Path, head: bytes, unit: bytes, size: int, opened: Callable[..., object] = open) -> Path:
    block = unit * max(1, 10**6 // len(unit))
    with opened(path, "wb") as file:  # type: ignore[attr-defined]
        file.write(head)
        for _ in range(max(1, size // len(block))):
            file.write(block)
    return path


def endure(path: Path) -> Endurance:
    """Check a file in a process of its own."""
    command = [sys.executable, "-m", "tests.bench_dataset.hostile", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout, type=Endurance)


def _check(path: Path) -> Endurance:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = prepare([Source.local(path)], options=DatasetOptions(), folder=Path(folder))
        temporary = sum(file.stat().st_size for file in Path(folder).iterdir())
    return Endurance(time.perf_counter() - started, peak_memory(), temporary, found.counts["error"])


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(_check(Path(sys.argv[1]))))
