"""`python -m vertex_tuning check`: the check of a dataset as a program, for people and for other programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import PROJECT_DIR, SUPPORT_TRIAGE

LABELLED = "prompt,response\n" + "".join(f"question {n},answer {n % 2}\n" for n in range(40))


def check(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program and require that it starts no Airflow."""
    home = (cwd or PROJECT_DIR) / "airflow-home"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR / "plugins"), "AIRFLOW_HOME": str(home)}
    command = [sys.executable, "-m", "vertex_tuning", "check", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert not home.exists()
    return done


def test_a_dataset_that_can_be_used_is_described(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(LABELLED)
    done = check("a.csv", "--validation-fraction", "0.2", "--report", "report.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "validation examples; responses are 2 labels." in done.stdout
    assert "500 or more are recommended" in done.stdout
    assert "All findings: report.json" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["error"] == {}


def test_the_result_as_json_has_cases_of_validation_examples() -> None:
    validation = SUPPORT_TRIAGE.with_name("validation.jsonl")
    done = check(str(SUPPORT_TRIAGE), "--validation", str(validation), "--task", "classification", "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["error"], result["training_rows"], result["labels"]) == (0, "", 720, 6)
    rows = validation.read_text()
    for case in result["cases"]:
        assert json.dumps(case["prompt"], ensure_ascii=False) in rows
        assert case["equals"] in case["system_instruction"]


REFUSED: dict[str, tuple[str, list[str], str]] = {
    "row": ('{"contents": []}\n', ["a.jsonl"], "a.jsonl, line 1: contents: found an empty list"),
    "task": (LABELLED, ["a.csv", "--task", "clasification"], "task: found 'clasification', expected one of"),
    "columns": (LABELLED, ["a.csv", "--columns", "prompt=text"], "--columns prompt=NAME,response=NAME"),
    "no file": (LABELLED, ["b.csv"], "b.csv: found no file"),
    "report": (LABELLED, ["a.csv", "--report", "no/folder.json"], "no/folder.json: No such file or directory."),
    "fraction": (LABELLED, ["a.csv", "--validation-fraction", "2"], "validation_fraction"),
}


@pytest.mark.parametrize(("content", "arguments", "told"), REFUSED.values(), ids=REFUSED)
def test_a_dataset_that_cannot_be_used_is_refused(
    tmp_path: Path, content: str, arguments: list[str], told: str
) -> None:
    (tmp_path / ("a.jsonl" if content.startswith("{") else "a.csv")).write_text(content)
    done = check(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    as_json = check(*arguments, "--json", cwd=tmp_path)
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["error"] in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["a.csv", "--columns", "text"], ["a.csv", "--columns", "prompt=a,prompt=b"], ["a.csv", "--colums", "x"]],
)
def test_a_wrong_command_line_ends_with_its_own_exit_code(tmp_path: Path, arguments: list[str]) -> None:
    done = check(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m vertex_tuning")


def test_names_of_columns_may_have_commas_and_equals_signs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(LABELLED.replace("prompt,response", '"a,b=c",d'))
    assert check("a.csv", "--columns", "prompt=a,b=c,response=d", cwd=tmp_path).returncode == 0
