"""`vertex-tuning` in a folder of one's own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from vertex_tuning.__main__ import main
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.config.tuning_schema import tuning_schema

from tests.support.emulator import classification_rows


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def json_lines(path: Path, rows: list[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def text_rows(count: int) -> list[dict[str, Any]]:
    """Examples whose responses are sentences."""
    return [
        {"prompt": f'Summarize number {number}: the {number} "quoted" words.', "response": f"Sentence {number}: short."}
        for number in range(count)
    ]


def written(name: str) -> dict[str, Any]:
    tuning: dict[str, Any] = yaml.safe_load(Path(f"include/tunings/{name}.yaml").read_text())
    return tuning


# init


def test_labels_make_a_tuning_that_compares_exact_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json_lines(folder / "data" / "cards.jsonl", classification_rows(120))
    assert main(["init", "cards", "--data", data]) == 0
    said = capsys.readouterr().out
    assert "109 training examples, 11 validation examples; responses are 3 labels." in said
    assert "Wrote include/tunings/cards.yaml." in said
    tuning = load_tuning(Path("include/tunings/cards.yaml"))
    assert (tuning.training_data, tuning.task) == ("data/cards.jsonl", "classification")
    assert tuning.rule["value"] == "sample.exact_share"
    assert all(case["equals"] in ("lost", "stolen", "late") for case in tuning.smoke_test.cases)


@pytest.mark.parametrize("task", [None, "summarization", "chat", "extractive_qa"])
def test_texts_make_a_tuning_that_compares_the_loss(folder: Path, task: str | None) -> None:
    data = json_lines(folder / "texts.jsonl", text_rows(60))
    assert main(["init", "texts", "--data", data, *(["--task", task] if task else [])]) == 0
    tuning = load_tuning(Path("include/tunings/texts.yaml"))
    assert tuning.task == task
    assert tuning.promotion.rule == {"value": "eval_total_loss.last", "higher_is_better": False}
    assert "# task: summarization" in Path("include/tunings/texts.yaml").read_text() or task


def test_columns_of_a_csv_file_are_kept_whatever_their_names(folder: Path) -> None:
    rows = "\n".join(f'"Card {n} is {word}.",{word}' for n, word in enumerate(("lost", "stolen") * 30))
    (folder / "cards.csv").write_text(f'"text: of, the customer",team\n{rows}\n')
    assert (
        main(["init", "cards", "--data", "cards.csv", "--columns", "prompt=text: of, the customer,response=team"]) == 0
    )
    assert written("cards")["dataset"]["columns"] == {"prompt": "text: of, the customer", "response": "team"}
    assert main(["lint"]) == 0


@pytest.mark.parametrize("text", ['say "yes": # no', "- a\n- b", "{a: 1}", "null", "0x10", "é \\ 'x' ☃ %s {brace}"])
def test_texts_of_the_data_are_kept_unchanged(folder: Path, text: str) -> None:
    rows = [{"prompt": f"{text} {number}", "response": f"{text}, {number}"} for number in range(40)]
    assert main(["init", "texts", "--data", json_lines(folder / "texts.jsonl", rows)]) == 0
    assert all(case["prompt"].startswith(text) for case in written("texts")["smoke_test"]["cases"])


def test_editors_find_the_schema_which_the_tuning_keeps(folder: Path) -> None:
    main(["init", "cards", "--data", json_lines(folder / "cards.jsonl", classification_rows(60))])
    first = Path("include/tunings/cards.yaml").read_text().splitlines()[0]
    schema = json.loads((folder / "include" / "tunings" / first.partition("$schema=")[2]).read_text())
    jsonschema.validate(written("cards"), schema)


def test_data_outside_the_project_is_named_whole_with_what_it_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json_lines(folder / "elsewhere" / "cards.jsonl", classification_rows(60))
    (folder / "project").mkdir()
    monkeypatch.chdir(folder / "project")
    assert main(["init", "cards", "--data", data]) == 0
    assert written("cards")["training_data"] == data
    assert "[vertex_tuning] dataset_dirs" in Path("include/tunings/cards.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["Cards", "--data", "cards.jsonl"], "NAME: found 'Cards', expected a lower-case letter"),
        (["../cards", "--data", "cards.jsonl"], "NAME: found '../cards'"),
        (["cards", "--data", "nothing.jsonl"], "nothing.jsonl: found no file"),
        (["cards", "--data", "a*.jsonl"], "expected one without"),
        (["cards", "--data", "few.jsonl"], "Nothing was written."),
        (["cards", "--data", "wrong.jsonl"], "Nothing was written."),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    json_lines(folder / "cards.jsonl", classification_rows(60))
    json_lines(folder / "few.jsonl", classification_rows(1))
    json_lines(folder / "wrong.jsonl", [{"contents": []}])
    assert main(["init", *words]) == 1
    assert told in capsys.readouterr().err
    assert not Path("include").exists()


def test_a_tuning_is_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json_lines(folder / "cards.jsonl", classification_rows(60))
    assert main(["init", "cards", "--data", data]) == 0
    path = Path("include/tunings/cards.yaml")
    path.write_text("mine")
    assert main(["init", "cards", "--data", data]) == 1
    assert "found include/tunings/cards.yaml, expected no such file" in capsys.readouterr().err
    assert path.read_text() == "mine"


# lint and schema


def test_lint_finds_mistakes_in_files_and_missing_data(
    folder: Path, project_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(project_dir / "include" / "tunings", "include/tunings")
    assert main(["lint"]) == 1
    assert "training_data: include/data/support_triage/training.jsonl: found no file" in capsys.readouterr().err
    assert main(["lint", "include/tunings/support_triage.yaml"]) == 0
    assert main(["lint", "include/tunings"]) == 0
    assert "No mistakes in 1 tuning." in capsys.readouterr().out
    wrong = Path("include/tunings/wrong.yaml")
    wrong.write_text(
        Path("include/tunings/support_triage.yaml").read_text().replace("epoch_count: 4", "epoch_count: 0")
    )
    assert main(["lint", "include/tunings"]) == 1
    assert "hyper_parameters.epoch_count: found 0, expected 1 or more." in capsys.readouterr().err
    assert main(["lint", str(wrong), "missing.yaml"]) == 1
    assert "missing.yaml: found no such file" in capsys.readouterr().err


def test_schema_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == tuning_schema()


# model


def test_model_without_a_region_says_how_to_name_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "cards"]) == 1
    assert "cards: found no such tuning in include/tunings" in capsys.readouterr().err


def test_the_guide_lists_every_command(project_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"(?m)^    ([a-z]+)  ", capsys.readouterr().out)
    guide = (project_dir / "docs" / "package.md").read_text()
    assert sorted(listed) == sorted(set(re.findall(r"(?m)^\| `vertex-tuning (\w+)`", guide))) != []
