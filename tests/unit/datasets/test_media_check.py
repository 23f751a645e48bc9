"""All files of a dataset: what they cost, which limits they are over, and what the store knows of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest
from vertex_tuning.config.media_table import media_facts
from vertex_tuning.costs.media import TokenRange
from vertex_tuning.datasets.prepare import DatasetOptions, Prepared, Source, prepare

from tests.support.dataset_files import lines, pair
from tests.support.media_files import pdf, video, wav
from tests.unit.datasets.test_media_rules import NEW, OLD, file, row

PDF, WAV, MP4 = "gs://b/a.pdf", "gs://b/a.wav", "gs://b/a.mp4"


class Stored(NamedTuple):
    content: bytes
    content_type: str
    large: int = 0

    @property
    def size(self) -> int:
        return self.large or len(self.content)


class Store:
    """A store of files in memory. Files that are not in it do not exist, except under gs://secret/."""

    def __init__(self, **files: Stored) -> None:
        self.files = {f"gs://b/{name.replace('_', '.')}": stored for name, stored in files.items()}
        self.opened: list[str] = []

    def find_objects(self, uris: Iterable[str]) -> dict[str, Stored | None]:
        return {uri: self.files.get(uri) for uri in uris if not uri.startswith("gs://secret/")}

    @contextmanager
    def open_object(self, uri: str, chunk_size: int | None = None) -> Iterator[IO[bytes]]:  # noqa: ARG002
        self.opened.append(uri)
        yield io.BytesIO(self.files[uri].content)


def checked(
    rows: Iterable[Any],
    tmp_path: Path,
    model: str = NEW,
    store: Store | None = None,
    validation: Iterable[Any] = (),
    **options: Any,
) -> Prepared:
    sources = []
    for name, content in (("train.jsonl", lines(rows)), ("validation.jsonl", lines(validation))):
        path = tmp_path / name
        path.write_bytes(content)
        sources.append([Source.local(path, name)] if content else [])
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    given = DatasetOptions(**options)
    return prepare(*sources, options=given, folder=folder, facts=media_facts(model), store=store)


def said(prepared: Prepared, kind: str) -> str:
    return "\n".join(str(each) for shown in prepared.shown.values() for each in shown if each.kind == kind)


def test_what_is_not_known_is_a_range_within_the_documented_limits(tmp_path: Path) -> None:
    found = checked([row(file("application/pdf", PDF))] * 10, tmp_path).training
    assert (found.files.number, found.files.unknown) == (10, 10)
    assert found.files.tokens == TokenRange(10 * 560, 10 * 300 * 560)
    assert found.tokens == found.text_tokens + 10 * 560
    assert checked([pair()], tmp_path).training.files.tokens == TokenRange(0, 0)


def test_two_hundred_images_cost_what_the_service_takes(tmp_path: Path) -> None:
    found = checked([row(file(uri=f"gs://b/{number}.png")) for number in range(200)], tmp_path)
    assert found.training.files.tokens == TokenRange(200 * 1120, 200 * 1120)


def test_files_are_read_for_their_pages_and_lengths_only_if_that_is_wanted(tmp_path: Path) -> None:
    store = Store(
        a_pdf=Stored(pdf(3), "application/pdf"),
        a_wav=Stored(wav(7), "audio/wav"),
        a_mp4=Stored(video(90), "video/mp4"),
    )
    files = [file("application/pdf", PDF), file("audio/wav", WAV), file("video/mp4", MP4)]
    unread = checked([row(each) for each in files], tmp_path, store=store).training.files
    assert (unread.unknown, store.opened) == (3, [])
    read = checked([row(each) for each in files], tmp_path, store=store, inspect_files=True)
    assert read.training.files.unknown == 0
    pages, sound, frames = 3 * 560, 7 * 25, 90 * 70
    assert read.training.files.tokens == TokenRange(pages + sound + frames, pages + sound + frames + 90 * 25)
    assert sorted(store.opened) == sorted([PDF, WAV, MP4])
    assert read.counts["warning"].keys() <= {"short_outlier", "long_outlier"}


@pytest.mark.parametrize(
    ("stored", "mime", "uri", "kind"),
    [
        (Stored(b"", "image/png"), "image/jpeg", "gs://b/a.png", "file_type"),
        (Stored(b"", "image/png", large=20_000_001), "image/png", "gs://b/a.png", "file_size"),
        (Stored(b"not a PDF", "application/pdf"), "application/pdf", PDF, "file_unreadable"),
        (Stored(b"no sound", "audio/wav"), "audio/wav", WAV, "file_unreadable"),
    ],
)
def test_what_the_store_knows_of_a_file_is_a_warning(
    tmp_path: Path, stored: Stored, mime: str, uri: str, kind: str
) -> None:
    store = Store(**{uri.removeprefix("gs://b/").replace(".", "_"): stored})
    found = checked([row(file(mime, uri))] * 2, tmp_path, store=store, inspect_files=True)
    assert found.error_count == 0
    assert uri in said(found, kind)
    assert found.counts["warning"][kind] == 1


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "image/png", "image/png; charset=binary"])
def test_a_store_that_does_not_know_the_type_is_no_warning(tmp_path: Path, content_type: str) -> None:
    store = Store(a_png=Stored(b"x", content_type))
    assert "file_type" not in checked([row(file(uri="gs://b/a.png"))], tmp_path, store=store).counts["warning"]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    store = Store(a_pdf=Stored(pdf(1), "application/pdf", large=20_000_001))
    checked([row(file("application/pdf", PDF))], tmp_path, store=store, inspect_files=True)
    assert store.opened == []


def test_files_that_may_not_be_seen_are_not_called_missing(tmp_path: Path) -> None:
    found = checked([row(file(uri="gs://secret/a.png"))], tmp_path, store=Store())
    assert found.counts["warning"] == {}


@pytest.mark.parametrize(("bad", "refused"), [(1, False), (2, False), (3, True)])
def test_the_share_of_rows_that_are_dropped_is_said_and_over_a_tenth_refused(
    tmp_path: Path, bad: int, refused: bool
) -> None:
    store = Store(a_png=Stored(b"x", "image/png"))
    rows = [row(file(uri="gs://b/a.png" if number >= bad else f"gs://b/none/{number}.png")) for number in range(20)]
    found = checked(rows, tmp_path, store=store)
    assert found.counts["warning"]["file_missing"] == bad
    assert f"{bad} of 20 rows ({bad / 20:.1%})" in said(found, "would_be_dropped")
    assert ("dropped_by_service" in found.counts["error"]) == refused


@pytest.mark.parametrize(("long", "refused"), [(1, False), (2, True)])
def test_videos_that_are_too_long_are_dropped_for_certain(tmp_path: Path, long: int, refused: bool) -> None:
    store = Store(a_mp4=Stored(video(1201), "video/mp4"), b_mp4=Stored(video(20), "video/mp4"))
    config = {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}}
    names = ["a"] * long + ["b"] * (10 - long)
    rows = [row(file("video/mp4", f"gs://b/{name}.mp4"), **config) for name in names]
    found = checked(rows, tmp_path, store=store, inspect_files=True)
    assert "videos of 1,201 seconds, expected at most 1,200" in said(found, "video_length")
    assert ("dropped_by_service" in found.counts["error"]) == refused
    # A segment of it may be short enough.
    part = file("video/mp4", MP4, videoMetadata={"startOffset": "0s", "endOffset": "20s"})
    assert checked([row(part, **config)], tmp_path, store=store, inspect_files=True).error_count == 0


def test_pages_of_all_files_of_a_row_count_together(tmp_path: Path) -> None:
    store = Store(a_pdf=Stored(pdf(151), "application/pdf"))
    found = checked([row(*[file("application/pdf", PDF)] * 2)], tmp_path, store=store, inspect_files=True)
    assert "302 pages, expected at most 300" in said(found, "document_length")


def of_resolution(level: str | None, model_file: str = MP4) -> dict[str, Any]:
    config = {"generationConfig": {"mediaResolution": level}} if level else {}
    return row(file("video/mp4", model_file), **config)


LOW, HIGH = "MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_HIGH"


@pytest.mark.parametrize(
    ("training", "validation", "warned"),
    [
        ([LOW, LOW], [], False),
        ([LOW, HIGH], [], True),
        ([LOW, None], [], True),
        ([LOW], [LOW], False),
        ([LOW], [HIGH], True),
    ],
)
def test_all_rows_with_videos_need_the_same_resolution(
    tmp_path: Path, training: list[str | None], validation: list[str | None], warned: bool
) -> None:
    found = checked(map(of_resolution, training), tmp_path, OLD, validation=map(of_resolution, validation))
    assert found.error_count == 0
    assert ("video_resolution" in found.counts["warning"]) == warned


def test_images_may_have_different_resolutions(tmp_path: Path) -> None:
    rows = [row(file(), generationConfig={"mediaResolution": level}) for level in (LOW, HIGH)]
    assert "video_resolution" not in checked(rows, tmp_path, OLD).counts["warning"]
