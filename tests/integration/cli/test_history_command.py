"""`vertex-tuning history` against the local Google Cloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from vertex_tuning.__main__ import main
from vertex_tuning.deployment import deployment_id
from vertex_tuning.history.run_history import history_folder, keep_record
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.hooks.storage import StorageHook

from tests.integration.project.test_readme import blocks
from tests.support.paths import PROJECT_DIR

TUNING = "support_triage"
PLACE = "projects/my-project/locations/us-central1"


@pytest.fixture(autouse=True)
def own_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the runs of other tests, in an empty project."""
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", f"history-{uuid4().hex[:8]}")
    monkeypatch.chdir(tmp_path)


def score(value: float, half: float) -> dict[str, Any]:
    return {"value": value, "lower": value - half, "upper": value + half, "examples": 500}


def gain(observed: float, half: float) -> dict[str, Any]:
    bounds = {"observed": observed, "lower": observed - half, "upper": observed + half}
    return {**bounds, "confidence": 0.95, "examples": 500, "better": 20, "worse": 10}


def judged(day: int, outcome: str, version: int, **fields: Any) -> dict[str, Any]:
    return {
        "ended": f"2026-11-{day:02}T05:52:10+00:00",
        "outcome": outcome,
        "model": f"{PLACE}/models/4711@{version}",
        "value": "sample.exact_share",
        "cost": 3.2,
        "currency": "USD",
        **fields,
    }


RUNS: list[dict[str, Any]] = [
    judged(2, "first", 1, score=score(0.912, 0.025), validation_loss=0.4312),
    judged(9, "refused", 2, score=score(0.846, 0.031), gain=gain(-0.066, 0.024), validation_loss=0.5104),
    {"ended": "2026-11-16T05:01:44+00:00", "outcome": "failed"},
    judged(23, "promoted", 3, score=score(0.942, 0.0205), gain=gain(0.03, 0.018), validation_loss=0.3977),
]
"""The runs on the page about the history."""


def record(storage: StorageHook, number: int, **fields: Any) -> RunRecord:
    given = {
        "tuning": TUNING,
        "key": f"{number:016x}",
        "kind": "retraining",
        "dag_id": f"retrain_{TUNING}",
        "run_id": f"run {number}",
        "title": "Title",
        **fields,
    }
    made = msgspec.convert(given, RunRecord)
    keep_record(storage, history_folder("bucket", deployment_id(), TUNING), made)
    return made


@pytest.fixture
def recorded(storage: StorageHook) -> list[RunRecord]:
    return [record(storage, number, **fields) for number, fields in enumerate(RUNS)]


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["history", TUNING, *words]) == 0
    return capsys.readouterr().out


def test_the_page_shows_what_the_command_prints(
    recorded: list[RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tunings = tmp_path / "include" / "tunings"
    tunings.mkdir(parents=True)
    (tunings / f"{TUNING}.yaml").write_text((PROJECT_DIR / "include" / "tunings" / f"{TUNING}.yaml").read_text())
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_BUCKET", "bucket")
    command, _, expected = blocks((PROJECT_DIR / "docs" / "history.md").read_text(), "console")[0].partition("\n")
    assert command.split()[:3] == ["$", "vertex-tuning", "history"]
    assert shown(capsys, *command.split()[4:]) == expected


def test_json_has_every_field_newest_first(recorded: list[RunRecord], capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "--bucket", "bucket", "--json", "--limit", "3"))
    assert [msgspec.convert(fields, RunRecord) for fields in found] == recorded[:0:-1]
    assert found[0].keys() == set(RunRecord.__struct_fields__)


def test_a_warning_of_the_last_run_is_shown(storage: StorageHook, capsys: pytest.CaptureFixture[str]) -> None:
    record(storage, 1, **RUNS[0], warnings=["It was retired."])
    assert "Warning: It was retired." in shown(capsys, "--bucket", "bucket")
    record(storage, 2, **RUNS[3])
    assert "retired" not in shown(capsys, "--bucket", "bucket")


def test_objects_that_are_left_out_are_named(
    recorded: list[RunRecord], storage: StorageHook, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = history_folder("bucket", deployment_id(), TUNING)
    storage.write_object(f"{folder}/{'e' * 16}.json", b"\x1b[31m", "application/json")
    capsys.readouterr()
    assert main(["history", TUNING, "--bucket", "bucket"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"Left out: {'e' * 16}.json: is no record of a run")
    assert len(told.out.splitlines()) == 2 + len(recorded) + 3


def test_a_tuning_without_runs_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--bucket", "bucket") == "No runs.\n"
    assert shown(capsys, "--bucket", "bucket", "--json") == "[]\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Run this in the project's folder, or name the bucket: --bucket my-bucket"),
        (["--bucket", "a/b"], "expected a bucket's name"),
        (["--bucket", "missing"], "404"),
    ],
)
def test_what_is_missing_is_said(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", TUNING, *words]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-3", "3.5", "many", "99999"])
def test_the_limit_is_a_number(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["history", TUNING, f"--limit={limit}"])
    assert ended.value.code == 2
    assert f"found '{limit}', expected a whole number from 1 to 5000" in capsys.readouterr().err
