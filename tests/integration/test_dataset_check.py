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


REFUSED: dict[str, tuple[int, str, list[str], str]] = {
    "row": (1, '{"contents": []}\n', ["a.jsonl"], "a.jsonl, line 1: contents: found an empty list"),
    "task": (2, LABELLED, ["a.csv", "--task", "clasification"], "task: found 'clasification', expected one of"),
    "columns": (1, LABELLED, ["a.csv", "--columns", "prompt=text"], "--columns prompt=NAME,response=NAME"),
    "no file": (1, LABELLED, ["b.csv"], "b.csv: found no file"),
    "report": (1, LABELLED, ["a.csv", "--report", "no/folder.json"], "no/folder.json: No such file or directory."),
    "fraction": (2, LABELLED, ["a.csv", "--validation-fraction", "2"], "validation_fraction"),
    "epochs": (2, LABELLED, ["a.csv", "--epochs", "0"], "epochs: found 0, expected a whole number, 1 or more"),
    "format": (2, LABELLED, ["a.csv", "--format", "chatt"], "dataset.format: found 'chatt'"),
    "network": (2, LABELLED, ["gs://bucket/a.csv"], "the check uses no network"),
    "same file": (2, LABELLED, ["a.csv", "--convert", "./a.csv"], "convert: found ./a.csv, a file of the dataset"),
}


@pytest.mark.parametrize(("code", "content", "arguments", "told"), REFUSED.values(), ids=REFUSED)
def test_a_dataset_that_cannot_be_used_is_refused(
    tmp_path: Path, code: int, content: str, arguments: list[str], told: str
) -> None:
    (tmp_path / ("a.jsonl" if content.startswith("{") else "a.csv")).write_text(content)
    done = check(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    as_json = check(*arguments, "--json", cwd=tmp_path)
    result = json.loads(as_json.stdout)
    assert (as_json.returncode, result["valid"]) == (code, False)
    assert result["error"] in done.stderr
    assert result["errors"][0]["message"] in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["a.csv", "--columns", "text"], ["a.csv", "--columns", "prompt=a,prompt=b"], ["a.csv", "--colums", "x"]],
)
def test_a_wrong_command_line_ends_with_its_own_exit_code(tmp_path: Path, arguments: list[str]) -> None:
    done = check(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: vertex-tuning")


def test_names_of_columns_may_have_commas_and_equals_signs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(LABELLED.replace("prompt,response", '"a,b=c",d'))
    assert check("a.csv", "--columns", "prompt=a,b=c,response=d", cwd=tmp_path).returncode == 0


def test_the_price_and_what_would_be_uploaded(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "name": "Ada"}]}
    for name in ("part-1.jsonl", "part-2.jsonl", "held-out.jsonl"):
        (tmp_path / name).write_text(json.dumps(chat) + "\n")
    arguments = ["part-*.jsonl", "--validation", "held-out.jsonl", "--base-model", "gemini-2.5-flash", "--epochs", "3"]
    result = json.loads(check(*arguments, "--convert", "out.jsonl", "--json", cwd=tmp_path).stdout)
    assert (result["valid"], result["errors"], result["converted"]) == (True, [], ["out.jsonl", "out-validation.jsonl"])
    assert result["tokens"] == {"training": 6, "training_at_most": 6, "validation": 3}
    assert (result["cost"]["epochs"], result["cost"]["training_tokens"]) == (3, 18)
    assert result["cost"]["amount"] > 0
    warning = next(each for each in result["warnings"] if each["rule"] == "left_out")
    assert (warning["file"], warning["line"], warning["path"]) == ("part-1.jsonl", 1, "messages[1].name")
    assert result["counts"]["warning"]["left_out"] == 3
    row = {
        "contents": [{"role": role, "parts": [{"text": text}]} for role, text in (("user", "Hi"), ("model", "Hello"))]
    }
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [row, row]
    assert json.loads((tmp_path / "out-validation.jsonl").read_text()) == row


def test_a_terminal_shows_statistics_and_the_cost(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(LABELLED)
    done = check("a.csv", "--base-model", "gemini-2.5-flash", cwd=tmp_path)
    assert "input tokens" in done.stdout
    assert "training tokens x USD" in done.stdout
    assert "40 rows converted from csv." in done.stdout
