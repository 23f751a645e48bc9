"""Command line: `python -m tests.bench_dataset`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench_dataset import contestants, generated, hostile
from tests.bench_dataset.measuring import MIB, Result, measure

SINGLE = ["ours", "json_loads", "cookbook_checker", "pydantic_models", "typed_msgspec"]
MEMORY_GOAL = 200 * MIB
GOALS = [
    ("as fast as a bare json.loads loop", "json_loads", 1.0),
    ("times the cookbook kind of checker", "cookbook_checker", 3.5),
    ("times pydantic models", "pydantic_models", 1.4),
    ("of the speed of bare typed decoding", "typed_msgspec", 0.4),
]


def main() -> int:
    """Measure, print, and exit with 0 whether or not the goals are met."""
    arguments = _parser().parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS") or 120))
    with tempfile.TemporaryDirectory(prefix="bench-dataset-") as folder:
        path = Path(folder) / "rows.jsonl"
        console.print(f"Writing {arguments.rows:,} rows …")
        generated.write(path, arguments.rows)
        found = measure(SINGLE, path, arguments.rounds)
        _print(f"{arguments.rows:,} rows, {path.stat().st_size / MIB:,.0f} MiB, one process", found, console)
        _print_goals(found, console)
        large = _enlarge(path, Path(folder) / "large.jsonl", arguments.large * 10**6)
        both = measure(["ours", "ours_twice"], large, max(1, arguments.rounds // 2))
        _print(f"A file of {large.stat().st_size / 10**6:,.0f} MB", both, console)
        _print_large_goals(both, console)
        for file in (path, large):
            file.unlink()
        if hostile_size := arguments.large // 10 if arguments.hostile is None else arguments.hostile:
            _print_hostile(Path(folder), hostile_size * 10**6, console)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench_dataset", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="how many there are (default 200000)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the best counts (default 5)")
    parser.add_argument("--large", type=int, default=1000, help="size of the large file in MB (default 1000)")
    parser.add_argument("--hostile", type=int, help="size of each hostile file in MB; 0 for none (default: large / 10)")
    return parser


def _enlarge(path: Path, large: Path, size: int) -> Path:
    """As many different rows of the kind as give a file of at most this size."""
    rows = int(size / path.stat().st_size * _count(path))
    generated.write(large, rows)
    while large.stat().st_size > size:
        rows = int(rows * 0.99)
        generated.write(large, rows)
    return large


def _count(path: Path) -> int:
    return contestants.json_loads(path)


def _print(title: str, found: dict[str, Result], console: Console) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("MiB/s", "seconds", "µs a row", "MiB resident"):
        table.add_column(name, justify="right")
    for name, one in found.items():
        cells = (one.speed, one.seconds, one.seconds / one.rows * 1e6, one.peak / MIB)
        table.add_row(name, *(f"{cell:,.{digits}f}" for cell, digits in zip(cells, (0, 2, 2, 0), strict=True)))
    console.print(table)


def _print_goals(found: dict[str, Result], console: Console) -> None:
    for words, other, goal in GOALS:
        _print_goal(found["ours"].speed / found[other].speed, goal, words, console)


def _print_large_goals(found: dict[str, Result], console: Console) -> None:
    _print_goal(found["ours_twice"].speed / found["ours"].speed, 1.7, "times as fast in two processes", console)
    peak = max(one.peak for one in found.values())
    verdict = "reached" if peak <= MEMORY_GOAL else "MISSED"
    console.print(f"{verdict}: {peak / MIB:,.0f} MiB resident at most, goal {MEMORY_GOAL / MIB:,.0f}")


def _print_hostile(folder: Path, size: int, console: Console) -> None:
    table = Table(title=f"Hostile files of {size / 10**6:,.0f} MB", title_justify="left")
    for name in ("", "MB", "seconds", "MiB resident", "MB temporary", "errors", ""):
        table.add_column(name, justify="right" if name else "left")
    for path in hostile.write(folder, size):
        found, size_of_file = hostile.endure(path), path.stat().st_size
        cells = (f"{size_of_file / 1e6:,.1f}", f"{found.seconds:,.1f}", f"{found.peak / MIB:,.0f}")
        errors = ", ".join(f"{kind} {count:,}" for kind, count in found.errors.items())
        verdict = "reached" if found.is_bounded(size_of_file) else "MISSED"
        table.add_row(path.name, *cells, f"{found.temporary / 1e6:,.1f}", errors, verdict)
        path.unlink()
    console.print(table)


def _print_goal(ratio: float, goal: float, words: str, console: Console) -> None:
    console.print(f"{'reached' if ratio >= goal else 'MISSED'}: {ratio:.2f} {words}, goal {goal:g}")


if __name__ == "__main__":
    sys.exit(main())
