from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from vertex_tuning.config.loader import Tuning, build_tunings, first_mistakes, load_tuning, load_tunings
from vertex_tuning.config.params import form
from vertex_tuning.exceptions import ConfigurationError, RetiredModelWarning

TUNED = "projects/p/locations/us-central1/models/1@champion"
GOOD: dict[str, Any] = {
    "schedule": {"cron": "0 6 * * 1", "timezone": "Europe/Berlin"},
    "bucket": "a-bucket",
    "base_model": "gemini-3.5-flash",
    "training_data": "train.jsonl",
    "dataset": {"validation_fraction": 0.1},
    "hyper_parameters": {"epoch_count": 3},
    "display_name": "a model",
    "smoke_test": {"cases": [{"prompt": "?"}]},
}


def write(folder: Path, name: str = "a_tuning.yaml", **changes: Any) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_a_tuning_is_named_by_its_file_and_by_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert load_tuning(path).name == "a_tuning"
    path.write_text(f"{path.read_text()}name: a_tuning\n")
    with pytest.raises(ConfigurationError, match="name: unknown field; a tuning is named by its file"):
        load_tuning(path)


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"hyper_parameters": {"epoch_count": 0}}, "hyper_parameters.epoch_count: found 0, expected 1 or more."),
        ({"hyper_parameters": {"epoch_count": 101}}, "hyper_parameters.epoch_count: found 101, expected 100 or less."),
        ({"hyper_parameters": {"epoch_count": "3"}}, "hyper_parameters.epoch_count: found '3', expected a whole"),
        ({"hyper_parameters": {"epoch_count": 2.5}}, "hyper_parameters.epoch_count: found 2.5, expected a whole"),
        ({"hyper_parameters": {"adapter_size": 3}}, "hyper_parameters.adapter_size: found 3, expected one of 1, 2, 4"),
        ({"hyper_parameters": 3}, "hyper_parameters: found 3, expected fields and their values."),
        ({"schedule": {"cron": "every day"}}, "schedule.cron: found 'every day', expected five cron fields"),
        ({"schedule": {"cron": "@daily"}}, "schedule.cron: found '@daily', expected five cron fields"),
        ({"schedule": {"cron": "0 6 30 feb *"}}, "schedule.cron: found '0 6 30 feb *', expected a date that exists"),
        ({"schedule": {"cron": "R 6 * * thu"}}, "schedule.cron: found 'R 6 * * thu', expected a fixed time"),
        ({"schedule": {"cron": "0 6 * * 1", "timezone": "Europe/Berln"}}, "found 'Europe/Berln', expected an IANA time "
         "zone, e.g. 'Europe/Berlin'."),
        ({"bucket": None}, "bucket: found None, expected a text."),
        ({"bucket": "gs://data"}, "bucket: found 'gs://data', expected the name of a bucket alone, as 'data'"),
        ({"bucket": "data/folder"}, "bucket: found 'data/folder', expected the name of a bucket alone, as 'data'"),
        ({"bucket": "gs://{{ var.value.bucket }}"}, "expected the name of a bucket alone"),
        ({"bucket": "goog-data"}, "expected the name of a bucket: 3 to 63"),
        ({"bucket": "my-google-data"}, "It must not contain google or begin with goog."),
        ({"bucket": "my-g00gle-data"}, "expected the name of a bucket: 3 to 63"),
        ({"bucket": "a-.b"}, "a letter or digit at both ends and next to each dot"),
        ({"bucket": "a.-b"}, "expected the name of a bucket: 3 to 63"),
        ({"bucket": "a..b"}, "expected the name of a bucket: 3 to 63"),
        ({"base_model": "gemini-1.5-flash\u202e"}, "no known base model"),
        ({"base_model": "gemini-1. pro"}, "no known base model"),
        ({"base_model": "projects/p/locations/../models/1@1"}, "expected a tuned model as projects/PROJECT"),
        ({"bucket": "Data"}, "bucket: found 'Data', expected the name of a bucket: 3 to 63"),
        ({"location": "us-central-1"}, "'us-central-1', no known location: did you mean `us-central1`?"),
        ({"location": "global"}, "location: found 'global', Gemini models are not tuned at the global endpoint"),
        ({"location": "{{ var.value.place"}, "location: found '{{ var.value.place', expected a Jinja template"),
        ({"base_model": "gemini-3.5-flsh"}, "base_model: found 'gemini-3.5-flsh', no known base model: did you mean "
         "`gemini-3.5-flash`?"),
        ({"base_model": "projects/p/models/1"}, "expected a tuned model as projects/PROJECT/locations/LOCATION"),
        ({"training_data": " "}, "training_data: found ' ', expected a text."),
        ({"training_data": ["a.jsonl"]}, "training_data: found ['a.jsonl'], expected a text."),
        ({"training_data": "{{ ds }.jsonl"}, "training_data: found '{{ ds }.jsonl', expected a Jinja template"),
        ({"training_data": "{{ ds | nofilter }}.jsonl"}, "expected a Jinja template; No filter named 'nofilter'."),
        ({"training_data": "{{ ds is notest }}.jsonl"}, "expected a Jinja template; No test named 'notest'."),
        ({"location": "{{ ds | nofilter }}"}, "expected a Jinja template; No filter named 'nofilter'."),
        ({"training_data": "http://host/x.jsonl"}, "training_data: found http before ://, expected a local path or"),
        ({"training_data": "dir://"}, "training_data: found dir before ://, expected a local path or one of"),
        ({"training_data": "gs://"}, "training_data: found a gs:// URI without the name of a bucket"),
        ({"training_data": "gs://Bucket/x.jsonl"}, "training_data: found the bucket 'Bucket', expected the name of a"),
        ({"validation_data": "gs://bucket"}, "validation_data: found a gs:// URI without an object"),
        ({"gates": [{"value": "smoke.pass_share", "min": 80}]}, "gates[0].min: found 80, expected a number"),
        ({"gates": [{"value": "sample.exact_share", "max": 50}]}, "gates[0].max: found 50, expected a number"),
        ({"gates": [{"value": "eval_fraction_of_correct_next_step_preds.best", "min": 1.5}]},
         "gates[0].min: found 1.5, expected a number from 0 to 1"),
        ({"gates": [{"value": "smoke.pass_share", "max_decrease": 5}]},
         "gates[0].max_decrease: found 5, expected a number from -1 to 1"),
        ({"gates": [{"value": "eval_total_loss.last", "max": -1}]}, "gates[0].max: found -1, expected 0 or more"),
        ({"promotion": {"rule": {"value": "sample.exact_share", "min_gain": 5}}},
         "promotion.rule.min_gain: found 5, expected a number from -1 to 1"),
        ({"promotion": {"rule": {"value": "sample.exact_share", "min_gain": 1}}},
         "promotion.rule.min_gain: found 1, expected less than 1, which no lower confidence bound reaches."),
        ({"promotion": {"rule": {"value": "sample.gain_over_base"}}},
         "promotion.rule.value: found 'sample.gain_over_base', expected a value that the model in use has, too"),
        ({"promotion": {"rule": {"value": "baseline.exact_share"}}}, "a value that the model in use has, too"),
        ({"gates": [{"value": "baseline.exact_share", "max_decrease": 0.1}]},
         "gates[0].max_decrease: expected min or max: the model in use has no value baseline.exact_share."),
        ({"smoke_test": {"cases": [{"prompt": "?", "equals": " "}]}}, "equals: found only spaces, expected a text"),
        ({"smoke_test": {"cases": [{"prompt": "?", "equals": "abc", "max_length": 2}]}},
         "which another expectation refuses: expected at most 2 characters"),
        ({"validation_data": ""}, "validation_data: found '', expected a text."),
        ({"task": "clasification"}, "task: found 'clasification', expected one of classification"),
        ({"task": "none"}, "leave the field out for another kind."),
        ({"display_name": "triage {{ ds }}"}, "display_name: found 'triage {{ ds }}', which has a template; expected"),
        ({"labels": {"team": "{{ ds }}"}}, "which has a template in team; expected plain text."),
        ({"labels": {"Team": "x"}}, "labels: found the key 'Team', expected a lower-case letter"),
        ({"labels": {"1st": "x"}}, "labels: found the key '1st', expected a lower-case letter"),
        ({"labels": {"team": "A&B"}}, "labels.team: found 'A&B', expected lower-case letters"),
        ({"labels": {"team": "x" * 64}}, "at most 63 characters."),
        ({"labels": {"airflow-tuning": "x"}}, "labels.airflow-tuning: found a reserved key"),
        ({"labels": {"team": 3}}, "labels.team: found 3, expected a text."),
        ({"labels": {f"k{number}": "" for number in range(51)}}, "labels: found 51, expected at most 50."),
        ({"zzz": "blue"}, "zzz: unknown field; expected one of description, schedule, "),
        ({"epoch_count": 3}, "epoch_count: unknown field; did you mean `hyper_parameters.epoch_count`?"),
        ({"epoch_cuont": 3}, "epoch_cuont: unknown field; did you mean `hyper_parameters.epoch_count`?"),
        ({"trainig_data": "x"}, "trainig_data: unknown field; did you mean `training_data`?"),
        ({"budget": {"max_costs": 3}}, "budget.max_costs: unknown field; did you mean `max_cost`?"),
        ({"smoke_test": {}}, "smoke_test.cases: found nothing, expected a value: the field is required."),
        ({"smoke_test": {"cases": []}}, "smoke_test.cases: found [], expected at least 1 of them."),
        ({"smoke_test": {"cases": [{"prompt": "?", "equls": "x"}]}}, "did you mean `equals`?"),
        ({"smoke_test": {"cases": [{"prompt": "?", "generation_config": {"temprature": 1}}]}}, "mean `temperature`?"),
        ({"smoke_test": {"cases": [{"prompt": "{{ x }}"}]}}, "which has a template in [0].prompt; expected"),
        ({"smoke_test": {"cases": [{"prompt": "?", "name": "a"}, {"prompt": "!", "name": "a"}]}}, "name 'a' 2 times"),
        ({"dataset": {"format": "jsonl"}}, "dataset.format: found 'jsonl', expected 'gemini', 'messages'"),
        ({"dataset": {"validation_fraction": 0.6}}, "dataset.validation_fraction: found 0.6, expected 0.5 or less."),
        ({"dataset": {"columns": {"promt": "text"}}}, "dataset.columns.promt: unknown field; did you mean `prompt`?"),
        ({"gates": [{"value": "eval_totl_loss.last", "max": 1}]}, "gates[0].value: found 'eval_totl_loss.last', "
         "did you mean `eval_total_loss.last`?"),
        ({"gates": [{"value": "overfitting", "maximum": 0}]}, "gates[0].maximum: unknown field, expected value and"),
        ({"gates": [{"value": "overfitting", "max": "{{ x }}"}]}, "which has a template in [0].max; expected"),
        ({"promotion": {"rule": {"value": "sampel.exact_share"}}}, "promotion.rule.value: found 'sampel.exact_share', "
         "did you mean `sample.exact_share`?"),
        ({"promotion": {"rule": {"value": "sample.exact_share", "min_gian": 0}}}, "did you mean `min_gain`?"),
        ({"promotion": {"rule": {"value": "sample.exact_share", "no_regression": ["x"]}}}, "rule.no_regression: found"),
        ({"promotion": {"champion_alias": "Champion"}}, "champion_alias: found 'Champion', expected 2 to 128"),
        ({"promotion": {"approval_hours": 1e300}}, "promotion.approval_hours: found 1e+300, expected 8760 or less."),
        ({"promotion": {"approval_hours": 0}}, "promotion.approval_hours: found 0, expected 0.01 or more."),
        ({"promotion": {"approval_hours": 1e-10}}, "promotion.approval_hours: found 1e-10, expected 0.01 or more."),
        ({"job_timeout_hours": 1e-300}, "job_timeout_hours: found 1e-300, expected 0.01 or more."),
        ({"promotion": {"require_approval": "true"}}, "require_approval: found 'true', expected true or false."),
    ],
)  # fmt: skip
def test_a_mistake_names_file_line_field_value_and_what_is_expected(
    tmp_path: Path, changes: dict[str, Any], mistake: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        load_tuning(write(tmp_path, **changes))
    assert re.match(rf"{tmp_path.name}/a_tuning\.yaml, line \d+: ", str(error.value))
    assert mistake in str(error.value)


def test_every_mistake_of_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(
        """\
schedule: {cron: 0 6 * * 1}
bucket: gs://data
base_model: gemini-3.5-flash
training_data: train.jsonl
hyper_parameters:
  epoch_count: 0100
display_name: yes
gates:
  - value: train_total_los.last
    max: 1
  - value: overfitting
    max: low
smoke_test:
  cases:
    - prompt: Is it late?
      equals: no
    - promt: Where is it?
bucket: data
"""
    )
    with pytest.raises(ConfigurationError) as error:
        load_tuning(path)
    lines = str(error.value).splitlines()
    assert sorted((int(re.findall(r"line (\d+)", line)[0]), line.split(": ")[1]) for line in lines) == [
        (2, "bucket"),
        (6, "hyper_parameters.epoch_count"),
        (7, "display_name"),
        (9, "gates[0].value"),
        (12, "gates[1].max"),
        (16, "smoke_test.cases[0].equals"),
        (17, "smoke_test.cases[1]"),
        (18, "bucket"),
    ]


@pytest.mark.parametrize("content", ["[", "- a", "", "\x00"])
def test_what_is_no_tuning_at_all_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"odd\.yaml"):
        load_tuning(path)


def test_a_wrong_file_leaves_the_right_ones_alone(tmp_path: Path) -> None:
    write(tmp_path, "right.yaml")
    write(tmp_path, "wrong.yaml", base_model="")
    tunings, mistakes = load_tunings(tmp_path)
    assert [tuning.name for tuning in tunings] == ["right"]
    assert len(mistakes) == 1
    assert "wrong.yaml" in mistakes[0]


@pytest.mark.parametrize(
    "content",
    [
        "[" * 3000,
        "description: 2026-13-45",
        f"description: {'9' * 10_000}",
        "promotion: {approval_hours: .inf}",
        "x: &anchor 1",
        "x: !!python/object:os.system {}",
        "\ufffe",
        "description: " + "x" * 1_000_001,
    ],
)
def test_whatever_a_file_holds_it_is_named_and_the_others_keep_running(tmp_path: Path, content: str) -> None:
    write(tmp_path, "right.yaml")
    (tmp_path / "wrong.yaml").write_text(content)
    tunings, mistakes = load_tunings(tmp_path)
    assert [tuning.name for tuning in tunings] == ["right"]
    assert mistakes
    assert all(mistake.startswith(f"{tmp_path.name}/wrong.yaml") for mistake in mistakes)


@pytest.mark.parametrize("kind", ["dangling link", "folder", "pipe", "not UTF-8"])
def test_what_is_no_readable_file_is_named_and_the_others_keep_running(tmp_path: Path, kind: str) -> None:
    write(tmp_path, "right.yaml")
    path = tmp_path / ".#right.yaml"
    if kind == "dangling link":
        path.symlink_to("me@host.123")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"description: caf\xe9")
    tunings, [mistake, *_] = load_tunings(tmp_path)
    assert [tuning.name for tuning in tunings] == ["right"]
    assert mistake.startswith(f"{tmp_path.name}/.#right.yaml")


def test_a_file_may_end_in_yml_but_no_two_files_have_one_tuning(tmp_path: Path) -> None:
    write(tmp_path, "first.yaml")
    write(tmp_path, "first.yml", description="the same name")
    write(tmp_path, "second.YML")
    tunings, mistakes = load_tunings(tmp_path)
    assert [(tuning.name, tuning.description) for tuning in tunings] == [("first", ""), ("second", "")]
    [mistake] = mistakes
    assert mistake == f"{tmp_path.name}/first.yml: another file has the tuning first; rename or remove one."


@pytest.mark.parametrize("name", ["Support.yaml", "a-b.yaml", "1st.yaml", f"{'x' * 64}.yaml"])
def test_a_file_whose_name_cannot_be_a_tunings_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}, line 1: found the file name '{name[:-5]}', expected"):
        load_tuning(write(tmp_path, name))


def test_each_mistake_is_one_line_whatever_is_quoted(tmp_path: Path) -> None:
    gate = {"value": "loss\nof\u2028training", "min": 1, "max": 2}
    fields: dict[str, Any] = {"gates": [gate], "a\nfield": 1}
    with pytest.raises(ConfigurationError) as error:
        load_tuning(write(tmp_path, **fields))
    lines = str(error.value).splitlines()
    assert [line.startswith(f"{tmp_path.name}/a_tuning.yaml, line ") for line in lines] == [True, True]


CONTROLS = ["\0", "\x1b[2K", "\x07", "\r", "\x7f", "\x85", "\x9b1A"]
UNSTORABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What Airflow cannot store, or a terminal and a browser obey."""


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(
    "field",
    [
        'description: "{}"',
        'display_name: "{}"',
        'training_data: "rows{}.jsonl"',
        'labels: {{team: "{}"}}',
        'smoke_test: {{cases: [{{prompt: "{}"}}]}}',
        'smoke_test: {{cases: [{{prompt: a, json_schema: {{"{}": 1}}}}]}}',
        '"unknown{}": 1',
    ],
)
def test_control_characters_are_mistakes_of_their_file(tmp_path: Path, field: str, control: str) -> None:
    write(tmp_path, "right.yaml")
    name = field.partition(":")[0]
    fields = {key: value for key, value in GOOD.items() if key != name}
    written = "".join(f"\\u{ord(character):04x}" for character in control)
    (tmp_path / "wrong.yaml").write_text(f"{field.format(written)}\n{yaml.safe_dump(fields)}")
    tunings, mistakes = load_tunings(tmp_path)
    assert [tuning.name for tuning in tunings] == ["right"]
    assert mistakes[0].startswith(f"{tmp_path.name}/wrong.yaml, line 1: ")
    assert not UNSTORABLE.search("\n".join(mistakes))


def test_tabs_and_lines_may_be_in_a_text(tmp_path: Path) -> None:
    assert load_tuning(write(tmp_path, description="a\tb\nc")).description == "a\tb\nc"


@pytest.mark.parametrize("control", CONTROLS)
def test_control_characters_are_refused_in_python_as_well(control: str) -> None:
    for fields in ({"description": control}, {"smoke_test": {"cases": [{"prompt": f"a{control}"}]}}):
        with pytest.raises(ValueError, match="control character"):
            Tuning.model_validate({"name": "x", **GOOD, **fields})


@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe.yaml",
        "\u202egnp.yaml".encode(),
        b"a\x1b[2K.yaml",
        b"a\nb.yaml",
        "a\u2028b.yaml".encode(),
        b"\x01.yml",
    ],
)
def test_a_file_of_an_odd_name_is_named_in_plain_text(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "folder\x1b[2K"
    folder.mkdir()
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    write(folder, "right.yaml")
    path.write_text("description: 1")
    tunings, mistakes = load_tunings(folder)
    assert [tuning.name for tuning in tunings] == ["right"]
    assert mistakes
    for mistake in mistakes:
        assert mistake.startswith(r"folder\x1b[2K/")
        assert not UNSTORABLE.search(mistake)


@pytest.mark.parametrize("kind", ["no permission", "file", "dangling link", "loop", "long name", "NUL", "missing"])
def test_a_folder_that_cannot_be_read_leaves_the_others_alone(tmp_path: Path, kind: str) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.mkdir()
    write(right, "right.yaml")
    if kind == "no permission":
        wrong.mkdir(mode=0)
    elif kind == "file":
        wrong.touch()
    elif kind in ("dangling link", "loop"):
        wrong.symlink_to("nowhere" if kind == "dangling link" else "wrong")
    elif kind in ("long name", "NUL"):
        wrong = tmp_path / ("x" * 5000 if kind == "long name" else "a\0b")
    with as_nobody(tmp_path):
        tunings, mistakes = load_tunings(wrong, right)
    assert [tuning.name for tuning in tunings] == ["right"]
    [mistake] = mistakes
    assert mistake.startswith(str(wrong).replace("\0", r"\x00")[:100])
    assert not UNSTORABLE.search(mistake)


@contextmanager
def as_nobody(readable: Path) -> Iterator[None]:
    """Without the rights of root, to whom no folder is closed."""
    user = os.geteuid()
    if user != 0:
        yield
        return
    for folder in (readable, *readable.parents[:-2]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_that_was_not_deployed_says_what_to_bring(tmp_path: Path) -> None:
    tunings, [mistake] = load_tunings(tmp_path / "include" / "tunings")
    assert tunings == []
    assert "found no such folder" in mistake
    assert "Deploy include/tunings and the data files" in mistake


def test_a_tuning_that_cannot_be_built_is_named_and_the_others_are_built(tmp_path: Path) -> None:
    write(tmp_path, "first.yaml")
    write(tmp_path, "second.yaml")

    def build(tuning: Tuning) -> str:
        if tuning.name == "first":
            raise RecursionError("too deep")
        return tuning.name

    built, [mistake] = build_tunings([tmp_path], build)
    assert built == {"second": "second"}
    assert mistake == "tunings/first: no DAG can be made of it: RecursionError: too deep"


def test_the_first_mistakes_are_told_and_how_many_more_there_are_in_which_files(tmp_path: Path) -> None:
    write(tmp_path, "many.yaml", **{f"field_{number}": 1 for number in range(25)})
    write(tmp_path, "other.yaml", bucket=3)
    lines = first_mistakes(load_tunings(tmp_path)[1]).splitlines()
    assert len(lines) == 21
    assert lines[-1] == f"and 6 more mistakes ({tmp_path.name}/many.yaml: 5, {tmp_path.name}/other.yaml: 1)."


@pytest.mark.parametrize("field", ["training_data", "validation_data"])
@pytest.mark.parametrize(
    "uri", ["s3://KEY:SESAME@b/x.jsonl", "s3://KEY:SE/SAME@b/x", "http://me:SESAME@h/x", "{{ x }s3://K:SESAME@b"]
)
def test_a_password_in_the_name_of_data_is_refused_and_not_quoted(tmp_path: Path, field: str, uri: str) -> None:
    tunings, [mistake] = load_tunings(write(tmp_path, **{field: uri}).parent)
    assert tunings == []
    assert f"{field}: " in mistake
    with pytest.raises(ValueError, match=field) as error:
        Tuning.model_validate({"name": "x", **GOOD, field: uri})
    assert not re.search("SE/?SAME", f"{mistake}{error.value}")


@pytest.mark.parametrize(
    "text", ["{{ ds | ds_nodash }}.jsonl", "{{ ts | ts_nodash }}", "{{ var.value.get('x') | tojson | urlencode }}"]
)
def test_airflows_own_filters_are_known(tmp_path: Path, text: str) -> None:
    assert load_tuning(write(tmp_path, training_data=text)).training_data == text


PROMPTS = "smoke_test:\n  cases:\n"
LARGE = {
    "equal prompts": PROMPTS + "    - {prompt: p}\n" * 20_000,
    "named prompts": PROMPTS + "".join(f"    - {{prompt: p, name: n{n}}}\n" for n in range(20_000)),
    "wrong prompts": PROMPTS + "    - {promt: p}\n" * 20_000,
    "unknown fields": "".join(f"word{n}: 1\n" for n in range(60_000)),
    "long unknown fields": "".join(f"{'k' * 900}{n}: 1\n" for n in range(1000)),
    "unknown fields of a part": "budget:\n" + "".join(f"  word{n}: 1\n" for n in range(60_000)),
    "unknown fields of cases": PROMPTS + "".join(f"    - {{prompt: p, w{n}: 1}}\n" for n in range(20_000)),
    "gates": "gates:\n" + "- {value: overfitting, max: 0}\n" * 20_000,
    "gates that are texts": "gates:\n" + "- a\n" * 20_000,
    "gates of unknown values": "gates:\n" + "".join(f"- {{value: v{n}, max: 0}}\n" for n in range(20_000)),
    "cases without regression": "promotion:\n  rule:\n    value: smoke.pass_share\n    no_regression:\n"
    + "".join(f"    - n{n}\n" for n in range(40_000)),
    "labels": "labels:\n" + "".join(f"  Team{n}: a\n" for n in range(20_000)),
    "traps": "labels:\n" + "".join(f"  t{n}: yes\n" for n in range(20_000)),
    "list": "labels: [" + "1," * 300_000 + "]\n",
    "stars": f"training_data: {'**/' * 30}x.jsonl\n",
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_a_large_file_is_told_before_airflow_gives_up(tmp_path: Path, text: str) -> None:
    """Airflow's default is 30 seconds for all files of a folder."""
    fields = {name: value for name, value in GOOD.items() if f"{name}:" not in text}
    path = tmp_path / "large.yaml"
    path.write_text(text + yaml.safe_dump(fields))
    start = time.process_time()
    tunings, mistakes = load_tunings(tmp_path)
    assert time.process_time() - start < 10
    assert tunings == []
    assert mistakes
    assert max(map(len, mistakes)) <= 2000


def test_advice_is_for_the_first_unknown_fields(tmp_path: Path) -> None:
    unknown: dict[str, Any] = {f"bucket_{number}": 1 for number in range(25)}
    write(tmp_path, **unknown)
    mistakes = load_tunings(tmp_path)[1]
    assert ["did you mean `bucket`?" in mistake for mistake in mistakes] == [True] * 20 + [False] * 5


def test_the_form_offers_the_files_values_with_titles_and_limits(tmp_path: Path) -> None:
    params = form(load_tuning(write(tmp_path)))
    assert {name: param.value for name, param in params.items()} == {
        "base_model": "gemini-3.5-flash",
        "training_data": "train.jsonl",
        "validation_data": None,
        "test_data": None,
        "epoch_count": 3,
        "learning_rate_multiplier": 1.0,
        "adapter_size": 4,
        "max_cost": None,
        "force": False,
        "display_name": "a model",
        "ask_smoke_cases": True,
    }
    assert all(param.schema["title"] and param.description for param in params.values())
    assert params["epoch_count"].schema["minimum"] == 1
    assert params["adapter_size"].schema["enum"] == [1, 2, 4, 8, 16, 32]


def test_the_projects_own_tunings_are_right(project_dir: Path) -> None:
    tunings, mistakes = load_tunings(project_dir / "include" / "tunings")
    assert mistakes == []
    assert "support_triage" in [tuning.name for tuning in tunings]
    assert all(isinstance(tuning, Tuning) for tuning in tunings)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gemini-1.0-pro-002", "has been retired"),
        ("gemini-2.0-flash-001", "2026-06-01"),
        ("gemini-2.5-flash-lite", "2026-10-20"),
        ("gemini-3.5-flash", ""),
        ("projects/p/locations/us-central1/models/1@1", ""),
    ],
)
def test_a_retired_model_is_warned_of_in_the_configuration_and_the_form(tmp_path: Path, model: str, said: str) -> None:
    path = write(tmp_path, base_model=model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        described = form(load_tuning(path))["base_model"].description or ""
    own = [str(one.message) for one in caught if one.category is RetiredModelWarning]
    assert [said in message and "a_tuning.yaml" in message for message in own] == ([True] if said else [])
    assert (f"{model}" in described) is bool(said)


def test_a_rule_about_a_sample_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"sample\.exact_share', expected test_data"):
        load_tuning(write(tmp_path, dataset={}))
    rule = {"rule": {"value": "train_total_loss.last", "higher_is_better": False}}
    assert load_tuning(write(tmp_path, dataset={}, promotion=rule)).promotion.rule == rule["rule"]


def test_a_gate_about_validation_data_needs_some(tmp_path: Path) -> None:
    rule = {"rule": {"value": "smoke.pass_share"}}
    gate = {"value": "eval_total_loss.last", "max": 1}
    with pytest.raises(ConfigurationError, match=r"gates\[0\]\.value: found 'eval_total_loss\.last', expected valid"):
        load_tuning(write(tmp_path, dataset={}, promotion=rule, gates=[gate]))
    assert load_tuning(write(tmp_path, dataset={}, promotion=rule, gates=[gate], on_missing_metrics="pass")).gates


@pytest.mark.parametrize("model", ["gemini-3.5-flash-001", "gemini-2.0-flash-lite", "text-bison@001", TUNED])
def test_versions_tuned_and_retired_models_can_be_named(tmp_path: Path, model: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RetiredModelWarning)
        assert load_tuning(write(tmp_path, base_model=model)).base_model == model
