"""`vertex-tuning costs` against the local Google Cloud."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from vertex_tuning.__main__ import main
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.costs.pricing import price_run
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.registry.aliases import TUNING_LABEL

from include.gcp_emulator.names import timestamp
from tests.support.google_cloud import LOCATION
from tests.support.paths import PRICES, PROJECT_DIR
from tests.support.scripted_jobs import fails
from tests.support.tasks import TaskContext, create, execute
from tests.support.waiting import wait_until

PENDING = {"script": [{"state": "JOB_STATE_PENDING", "seconds": 600}]}


@pytest.fixture(autouse=True)
def own_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the jobs of other tests, in an empty project."""
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", f"costs-{uuid4().hex[:8]}")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def train(control: Callable[..., None]) -> Callable[..., str]:
    def create_job(tuning: str, course: dict[str, Any], **arguments: Any) -> str:
        labels = {TUNING_LABEL: tuning} if tuning else {}
        control("lifecycle", labels={**labels, "run": (run := uuid4().hex)}, **course)
        job = execute(create(labels={**labels, "run": run}, **arguments), TaskContext(run))
        return str(job["name"])

    return create_job


def estimated(tokens: int) -> dict[str, Any]:
    cost: dict[str, Any] = msgspec.to_builtins(price_run("gemini-2.5-flash", tokens, 1, load_prices(PRICES)))
    return cost


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()  # the tasks of the test have logged to it
    assert main(["costs", "--json", *words]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_each_tuning_has_a_line(
    train: Callable[..., str], hook: VertexTuningHook, capsys: pytest.CaptureFixture[str]
) -> None:
    for tokens in (2_000_000, 3_000_000):
        train("cards", PENDING, cost=estimated(tokens))
    failed = train("letters", fails(3), cost=estimated(1_000_000))
    train("", PENDING)
    wait_until(lambda: not hook.get_tuning_job(failed).is_live)
    none, cards, letters = shown(capsys, "--location", LOCATION)
    assert (none["tuning"], none["jobs"], none["unknown"], none["amount"]) == ("", 1, 1, 0)
    assert (cards["jobs"], cards["training_tokens"], cards["amount"]) == (2, 5_000_000, 25.0)
    assert (cards["estimates"], cards["upper_bounds"], cards["currency"]) == (2, 0, "USD")
    assert (letters["jobs"], letters["estimates"], letters["upper_bounds"]) == (1, 0, 1)
    assert letters["training_tokens"] < 100_000  # what the service counted, not the estimate
    assert main(["costs", "--location", LOCATION]) == 0
    text = capsys.readouterr().out
    header, _, *lines = text.splitlines()
    assert header.split("  ")[0] == "tuning"
    assert [line.split("  ")[0] for line in lines[:3]] == ["(no tuning)", "cards", "letters"]
    assert lines[1].split() == ["cards", LOCATION, "2", "5,000,000", "USD", "25.00"]
    assert "Jobs of the last 30 days, with the prices of 2026-08-01." in text
    assert "has not counted the tokens yet: 2 jobs." in text
    assert "the price of the model are not known: 1 job." in text
    assert "Failed or cancelled: 1 job." in text
    assert text.endswith("Their cost is an upper bound.\n")


def test_only_the_last_days_count(
    train: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for days in (3, 40):
        created = timestamp(datetime.now(UTC) - timedelta(days=days))
        monkeypatch.setattr("include.gcp_emulator.tuning.service.timestamp", lambda created=created: created)
        train("cards", PENDING, cost=estimated(1_000_000))
    counts = {}
    for period in ("1", "7", "30", "45"):
        rows = shown(capsys, "--location", LOCATION, "--days", period)
        counts[period] = sum(row["jobs"] for row in rows)
    assert counts == {"1": 0, "7": 1, "30": 1, "45": 2}


def test_other_installations_are_left_out(
    train: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train("cards", PENDING, cost=estimated(1_000_000))
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", f"other-{uuid4().hex[:8]}")
    assert shown(capsys, "--location", LOCATION) == []
    assert main(["costs", "--location", LOCATION]) == 0
    assert capsys.readouterr().out.startswith("No tuning jobs.\n")


def test_files_give_the_regions_and_the_limits(
    train: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tunings = tmp_path / "include" / "tunings"
    tunings.mkdir(parents=True)
    sample = (PROJECT_DIR / "include" / "tunings" / "support_triage.yaml").read_text()
    (tunings / "cards.yaml").write_text(sample.replace("budget:\n", "budget:\n  max_cost_per_30_days: 100\n"))
    (tunings / "letters.yaml").write_text(sample)
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", LOCATION)
    train("cards", PENDING, cost=estimated(1_000_000))
    cards, letters = shown(capsys)
    assert (cards["location"], cards["jobs"], cards["max_cost_per_30_days"]) == (LOCATION, 1, 100.0)
    assert (letters["location"], letters["jobs"], letters["max_cost_per_30_days"]) == (LOCATION, 0, None)
    assert [row["tuning"] for row in shown(capsys, "--location", "europe-west4")] == ["cards", "letters"]
    assert main(["costs"]) == 0
    assert "USD 5.00           USD 100.00" in capsys.readouterr().out


def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str], control: Callable[..., None]) -> None:
    assert main(["costs"]) == 1
    assert "name the region: --location us-central1" in capsys.readouterr().err
    control("faults", method="tuningJobs.list", error={"code": 403, "message": "Not yours."})
    assert main(["costs", "--location", LOCATION]) == 1
    assert "Not yours." in capsys.readouterr().err


@pytest.mark.parametrize("days", ["0", "-3", "3.5", "many", "99999"])
def test_days_are_a_number(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["costs", f"--days={days}"])
    assert ended.value.code == 2
    assert f"found '{days}', expected a whole number from 1 to 3650" in capsys.readouterr().err
