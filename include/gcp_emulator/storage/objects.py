"""Buckets and objects: the resources, their versions and the rules for changes.

A change checks its preconditions and stores its result without an `await` in between, in the event loop's thread and in
one transaction. So exactly one of several conditional requests succeeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from ..names import project_number
from ..state import Resource, Store
from .files import Digest, Files
from .resources import (
    BucketFields,
    NewBucket,
    ObjectFields,
    location_type,
    merge,
    now,
    settable,
    timestamp,
)
from .rules import (
    Conditions,
    RefusedError,
    bucket_not_found,
    check_bucket_name,
    check_object_name,
    invalid,
    object_not_found,
)

BUCKET, LIVE, NONCURRENT = "storage.bucket", "storage.object", "storage.noncurrent"


class Buckets:
    """The buckets of all projects."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def insert(self, project: str, new: NewBucket) -> Resource:
        """Create a bucket.

        :raises StorageError: 400: bad name; 409: the bucket exists
        """
        name = check_bucket_name(new.name)
        if self._store.get(BUCKET, name):
            message = "Your previous request to create the named bucket succeeded and you already own it."
            raise RefusedError(409, "conflict", message)
        row = merge(_new_bucket(name, project, (new.location or "US").upper()), settable(new, BucketFields))
        self._store.put(BUCKET, name, row)
        return row

    def get(self, name: str) -> Resource:
        """Return a bucket.

        :raises StorageError: 404: the bucket does not exist; 400: bad name
        """
        row = self._store.get(BUCKET, check_bucket_name(name))
        if row is None:
            raise bucket_not_found()
        return row

    def list(self, project: str, prefix: str) -> list[Resource]:
        """A project's buckets in the order of their names."""
        number = project_number(project)
        rows = (row for name, row in scan(self._store, BUCKET, prefix) if name.startswith(prefix))
        return [row for row in rows if row["projectNumber"] == number]

    def patch(self, name: str, fields: BucketFields, conditions: Conditions) -> Resource:
        row = self.get(name)
        conditions.check(row)
        changed = merge(row, settable(fields, BucketFields))
        changed.setdefault("storageClass", "STANDARD")
        changed.setdefault("iamConfiguration", row["iamConfiguration"])
        changed.update(metageneration=str(int(row["metageneration"]) + 1), updated=timestamp(now()))
        self._store.put(BUCKET, name, changed)
        return changed

    def delete(self, name: str, conditions: Conditions) -> None:
        """Delete a bucket.

        :raises StorageError: 409: the bucket is not empty
        """
        conditions.check(self.get(name))
        for kind in (LIVE, NONCURRENT):
            if next(scan(self._store, kind, f"{name}/"), ("", {}))[0].startswith(f"{name}/"):
                raise RefusedError(409, "conflict", "The bucket you tried to delete is not empty.")
        self._store.delete(BUCKET, name)


class Objects:
    """The objects of all buckets: one live version per name, and the noncurrent ones of versioned buckets."""

    def __init__(self, store: Store, buckets: Buckets, files: Files) -> None:
        self._store, self._buckets, self._files = store, buckets, files
        self._last_generation = 0

    def live(self, bucket: str, name: str) -> Resource | None:
        """The current version; None if the object does not exist.

        :raises StorageError: 404: the bucket does not exist
        """
        self._buckets.get(bucket)
        return self._store.get(LIVE, f"{bucket}/{name}")

    def get(self, bucket: str, name: str, generation: int | None = None) -> Resource:
        """The current version, or the version of a generation.

        :raises StorageError: 404: it does not exist
        """
        row = self.live(bucket, name)
        if generation is not None and (row is None or row["generation"] != str(generation)):
            row = self._store.get(NONCURRENT, f"{bucket}/{name}\n{generation}")
        if row is None:
            raise object_not_found(bucket, name)
        return row

    def create(
        self,
        bucket: str,
        name: str,
        fields: Resource,
        file: str,
        conditions: Conditions,
        together: Callable[[Resource], None] | None = None,
    ) -> Resource:
        """Make a file the current version of an object.

        :param fields: the content's size and checksums, and the fields that the caller sets
        :param together: a change to store in the same transaction
        :raises StorageError: 412: a precondition does not hold; the caller keeps the file
        """
        previous = self.live(bucket, check_object_name(name))
        conditions.check(previous)
        created = timestamp(now())
        row = {
            "name": name,
            "bucket": bucket,
            "generation": str(self._new_generation(previous)),
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "storageClass": self._buckets.get(bucket)["storageClass"],
            "timeCreated": created,
            "updated": created,
            "timeStorageClassUpdated": created,
            "timeFinalized": created,
            "file": file,
        }
        row = merge(row, fields)
        with self._retiring(previous, created):
            self._store.put(*_key(row), row)
            if together:
                together(row)
        return row

    def patch(
        self, bucket: str, name: str, generation: int | None, fields: ObjectFields, conditions: Conditions
    ) -> Resource:
        """Change metadata. Content, generation and storage class stay (a rewrite changes the class)."""
        row = self.get(bucket, name, generation)
        conditions.check(row)
        changes = _keep_custom_time(row, settable(fields, ObjectFields))
        changed = merge(row, {**changes, "storageClass": row["storageClass"]})
        changed.update(metageneration=str(int(row["metageneration"]) + 1), updated=timestamp(now()))
        self._store.put(*_key(changed), changed)
        return changed

    def delete(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> None:
        """Delete the current version (a versioned bucket keeps it as noncurrent), or one generation permanently."""
        row = self.get(bucket, name, generation)
        conditions.check(row)
        if generation is None:
            with self._retiring(row, timestamp(now())):
                self._store.delete(*_key(row))
        else:
            self._store.delete(*_key(row))
            self._files.remove(row["file"])

    def scan(self, bucket: str, start: str) -> Iterator[Resource]:
        """The current versions in a bucket from the name `start` on, in the order of their names."""
        self._buckets.get(bucket)
        rows = scan(self._store, LIVE, f"{bucket}/{start}")
        return (row for _, row in takewhile(lambda named: named[0].startswith(f"{bucket}/"), rows))

    def scan_noncurrent(self, bucket: str, start: str) -> Iterator[Resource]:
        """The noncurrent versions in a bucket from the name `start` on, in no certain order."""
        rows = scan(self._store, NONCURRENT, f"{bucket}/{start}")
        return (row for _, row in takewhile(lambda named: named[0].startswith(f"{bucket}/"), rows))

    def files(self) -> set[str]:
        """The files of all versions of all objects."""
        return {row["file"] for kind in (LIVE, NONCURRENT) for row in self._store.list(kind)}

    def _new_generation(self, previous: Resource | None) -> int:
        """Microseconds since 1970, always increasing."""
        least = max(self._last_generation, int(previous["generation"]) if previous else 0) + 1
        self._last_generation = max(least, int(now().timestamp() * 1_000_000))
        return self._last_generation

    @contextmanager
    def _retiring(self, row: Resource | None, moment: str) -> Iterator[None]:
        """One transaction around a change that ends the life of a current version."""
        versioned = row and self._buckets.get(row["bucket"]).get("versioning", {}).get("enabled")
        with self._store.transaction():
            if row and versioned:
                archived = {**row, "timeDeleted": moment}
                self._store.put(*_key(archived), archived)
            yield
        if row and not versioned:
            self._files.remove(row["file"])


def _keep_custom_time(row: Resource, changes: Resource) -> Resource:
    """The changes without the removal of customTime, which once set can only grow."""
    before, after = row.get("customTime"), changes.get("customTime")
    if before is None or "customTime" not in changes:
        return changes
    if after is not None and after < before:
        raise invalid(f"Custom time cannot go back: it is {before}, the request says {after}.")
    return changes | {"customTime": after or before}


def content_fields(fields: Resource, digest: Digest) -> Resource:
    """The caller's fields, and the fields that depend on the content."""
    return {**fields, "size": str(digest.size), "md5Hash": digest.md5, "crc32c": digest.crc32c}


def _key(row: Resource) -> tuple[str, str]:
    """Kind and name of an object's row. A line break cannot be in a name, so it separates."""
    name = f"{row['bucket']}/{row['name']}"
    return (NONCURRENT, f"{name}\n{row['generation']}") if "timeDeleted" in row else (LIVE, name)


def _new_bucket(name: str, project: str, location: str) -> dict[str, Any]:
    moment = now()
    return {
        "name": name,
        "projectNumber": project_number(project),
        "generation": str(int(moment.timestamp() * 1_000_000)),
        "metageneration": "1",
        "location": location,
        "locationType": location_type(location),
        "storageClass": "STANDARD",
        "timeCreated": timestamp(moment),
        "updated": timestamp(moment),
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": False},
            "publicAccessPrevention": "inherited",
        },
        # A deleted object keeps nothing.
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
    }


def scan(store: Store, kind: str, start: str) -> Iterator[tuple[str, Resource]]:
    """Names and resources of a kind in the order of their names' UTF-8 bytes, from `start` on, read as needed."""
    rows = store.db.execute("SELECT name, body FROM resource WHERE kind = ? AND name >= ? ORDER BY name", (kind, start))
    return ((name, json.loads(body)) for name, body in rows)
