"""The emulator's storage: one SQLite file, and plain files for bytes.

SQLite (write-ahead log), because after `kill -9` a change is there completely or not at all. Bytes (objects, weights)
are files with random names, written before the row that names them.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

Resource = dict[str, Any]
Point = tuple[int, str, float]
"""Step, wall time (RFC 3339), value."""

_LAST = "\U0010ffff"
"""After a prefix, it sorts behind every name with that prefix."""

_CONTENT: Final = {"state.db", "state.db-wal", "state.db-shm", "objects", "tuning"}
"""Names of the files in the emulator's directory."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resource (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (kind, name)
);
CREATE TABLE IF NOT EXISTS point (
    series TEXT NOT NULL, step INTEGER NOT NULL, wall_time TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (series, step)
) WITHOUT ROWID;
"""


class Store:
    """JSON resources by kind and name, and points by series.

    Each call is a separate transaction, except calls within `transaction`.

    :param data_dir: the emulator's directory; created if it is missing, readable by its owner only
    :raises sqlite3.OperationalError: another process uses it
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(data_dir)
        self.data_dir = data_dir
        self.db = sqlite3.connect(data_dir / "state.db", check_same_thread=False, isolation_level=None, timeout=2)
        self.db.execute("PRAGMA locking_mode=EXCLUSIVE")  # two emulators on one directory would run its jobs twice
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of a block, or none, also after a kill. Inner blocks join the outer one. Do not await inside."""
        if self.db.in_transaction:
            yield
            return
        self.db.execute("BEGIN")
        with self.db:
            yield

    def put(self, kind: str, name: str, body: Resource) -> None:
        """Create or replace a resource. A replaced resource keeps its place in the order of creation."""
        self.db.execute(
            "INSERT INTO resource (kind, name, body) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body",
            (kind, name, json.dumps(body)),
        )

    def get(self, kind: str, name: str) -> Resource | None:
        row = self.db.execute("SELECT body FROM resource WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return json.loads(row[0]) if row else None

    def list(self, kind: str, prefix: str = "") -> Iterator[Resource]:
        """All resources of a kind whose name starts with `prefix`, newest first."""
        return (body for _, body in self.numbered(kind, prefix))

    def numbered(self, kind: str, prefix: str = "") -> Iterator[tuple[int, Resource]]:
        """Like `list`, each resource with its place in the order of creation."""
        rows = self.db.execute(
            "SELECT seq, body FROM resource WHERE kind = ? AND name >= ? AND name < ? ORDER BY seq DESC",
            (kind, prefix, prefix + _LAST),
        ).fetchall()
        return ((seq, json.loads(body)) for seq, body in rows)

    def delete(self, kind: str, name: str) -> bool:
        """Remove a resource; whether it existed."""
        return self.db.execute("DELETE FROM resource WHERE kind = ? AND name = ?", (kind, name)).rowcount > 0

    def add_points(self, points: Iterable[tuple[str, int, str, float]]) -> None:
        """Append (series, step, wall time, value). An existing step is replaced."""
        self.db.executemany("INSERT OR REPLACE INTO point VALUES (?, ?, ?, ?)", points)

    def points(self, series: str) -> Sequence[Point]:
        """All points of a series by step."""
        query = "SELECT step, wall_time, value FROM point WHERE series = ? ORDER BY step"
        return self.db.execute(query, (series,)).fetchall()

    def delete_points(self, prefix: str) -> None:
        """Remove every point of the series whose names start with `prefix`."""
        self.db.execute("DELETE FROM point WHERE series >= ? AND series < ?", (prefix, prefix + _LAST))

    def everything(self) -> dict[str, dict[str, Resource]]:
        """All resources by kind and name, and under "points" the number of points of each series."""
        result: dict[str, dict[str, Any]] = {"points": {}}
        for kind, name, body in self.db.execute("SELECT kind, name, body FROM resource ORDER BY seq"):
            result.setdefault(kind, {})[name] = json.loads(body)
        counts = self.db.execute("SELECT series, count(*) FROM point GROUP BY series")
        result["points"] = dict(counts.fetchall())
        return result

    def clear(self) -> None:
        """Forget every resource of every kind, and all points."""
        self.db.execute("DELETE FROM resource")
        self.db.execute("DELETE FROM point")

    def close(self) -> None:
        self.db.close()


def _make_private(data_dir: Path) -> None:
    """Remove the rights of other users. A folder with other content keeps its rights."""
    content = list(data_dir.iterdir())
    own = [path for path in content if path.name in _CONTENT]
    if len(own) == len(content):
        own.append(data_dir)
    for path in own:
        with suppress(PermissionError):  # another user owns it
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o077)


def new_id() -> str:
    """A 19-digit id, like Vertex AI's."""
    return str(secrets.randbelow(9 * 10**18) + 10**18)
