"""`make demo` as a person starts it: a real Airflow, one run, and nothing left behind."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from vertex_tuning.config.loader import Tuning, load_tuning
from vertex_tuning.datasets.prepare import DatasetOptions, Source, prepare

from include.local.outcome import Failure, exit_code
from include.local.own_data import OwnData, write_tuning
from include.local.own_tunings import name_of
from include.local.stack import CLOUD_PROJECT, PROJECT_DIR, Stack, StackError
from tests.support.emulator import running_emulator
from tests.support.local_network import closed_network
from tests.support.paths import BANKING77
from tests.support.processes import eventually, free_port, left_running, open_to_others

pytestmark = [pytest.mark.timeout(600)]


@contextmanager
def demo(home: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process, in an installation and on ports of its own."""
    ports = {"AIRFLOW_PORT": str(free_port()), "EMULATOR_PORT": str(free_port())}
    process = subprocess.Popen(
        [sys.executable, "-m", "include.local", "demo", *arguments],
        env={**os.environ, "AIRFLOW_HOME": str(home), "COLUMNS": "120", **ports, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and so would the demo.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        for process_left in left_running(home):
            process_left.kill()


def run_demo(home: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """:returns: exit code and output"""
    with demo(home, *arguments, **environment) as process:
        output, _ = process.communicate(timeout=600)
        # What was stopped as the last may still be ending on a busy machine.
        eventually(lambda: not left_running(home), seconds=10)
        return process.returncode, output


def test_own_data_is_learnt_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not BANKING77.is_dir():
        pytest.skip("shared/data/banking77 does not lie beside the project")
    data = ["--dataset", str(BANKING77 / "train.jsonl"), "--validation", str(BANKING77 / "validation.jsonl")]
    code, output = run_demo(tmp_path, *data)
    assert code == 0, output
    [accuracy] = [line for line in output.splitlines() if "/eval_fraction_of_correct_next_step_preds" in line]
    last = float(accuracy.split("│")[3])
    assert last >= 0.9
    endpoint, *_ = [line.split("│")[2].strip() for line in output.splitlines() if line.startswith("│ endpoint")]
    right = right_answers(tmp_path / "google-cloud", endpoint, 500, monkeypatch)
    print(f"validation token accuracy {last:.3f}, {right} of 500 test rows answered exactly")
    assert right >= 400


def right_answers(data_dir: Path, endpoint: str, count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many of the first rows of banking77's test set the tuned endpoint answers exactly."""
    import msgspec
    from vertex_tuning.datasets.prepare import Row
    from vertex_tuning.evaluation.cases import sample_cases
    from vertex_tuning.evaluation.predict import predict_all
    from vertex_tuning.hooks.connection import GoogleConnection
    from vertex_tuning.hooks.genai import VertexTuningHook

    from tests.integration.conftest import connection

    with running_emulator(data_dir) as url, (BANKING77 / "test.jsonl").open("rb") as file:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(url, project=CLOUD_PROJECT))
        hook = VertexTuningHook(GoogleConnection(location="us-central1"))
        rows = (msgspec.json.decode(line, type=Row) for line, _ in zip(file, range(count), strict=False))
        answers = predict_all(hook, endpoint, sample_cases(rows), deadline=time.time() + 120)
    return sum(not answer.problem for answer in answers)


WISHES = {"red": ["paint it", "as a rose", "like a brick"], "blue": ["as the sea", "like the sky", "a cold one"]}


def messages(answers: dict[str, str]) -> str:
    """A CSV file of wishes and colours; each colour is answered as the mapping says."""
    rows = [
        f"{word} {wish} number {number},{answers[colour]}"
        for number in range(270)  # enough to hold out the 133 examples that the promotion rule needs
        for colour, wishes in WISHES.items()
        for word, wish in zip(("please", "maybe", "now"), wishes, strict=True)
    ]
    return "\n".join(["wish,colour", *rows, ""])


@pytest.mark.timeout(1800)
def test_own_data_is_promoted_compared_and_refused_and_nobody_outside_is_called(
    tmp_path: Path, project_dir: Path
) -> None:
    data, home = tmp_path / "My wishes (1).csv", tmp_path / "home"
    data.write_text(messages({"red": "red", "blue": "blue"}))
    environment = closed_network(tmp_path)
    named = ["--dataset", str(data), "--prompt", "wish", "--response", "colour"]

    code, first = run_demo(home, *named, **environment)
    assert code == 0, first
    assert "First model: nothing to compare with. The new model is in use now." in first
    for price in (r"estimated: [\d,]+ training tokens, USD", r"│ billed +│ [\d,]+ training tokens, USD"):
        assert re.search(price, first), price
    tuning = yaml.safe_load((home / "tunings" / "my_wishes_1.yaml").read_text())
    assert "gates" not in tuning
    assert (tuning["dataset"]["validation_fraction"], tuning["task"]) == (0.1, "classification")

    code, second = run_demo(home, *named, **environment)
    assert code == 0, second
    assert "Not worse than the current model. The new model is in use now." in second
    assert re.search(r"│ sample.exact_share +│ [\d.]+ +│ 1 +│ 1 +│", second)
    what_next = second.partition("What next\n")[2].splitlines()
    assert len(what_next) == 5
    assert "write schedule.cron in the tuning" in what_next[4]
    assert what_next[0].endswith(str(home / "report.html"))
    assert re.search(r"make up, then http://127\.0\.0\.1:\d+/dags/retrain_my_wishes_1/runs/manual", what_next[1])
    assert "retrain_my_wishes_1" in (home / "report.html").read_text()

    pages = "".join((project_dir / "docs" / name).read_text() for name in ("start.md", "own-data.md"))
    shown = [shape(block) for block in re.findall(r"```text\n(.*?)```", pages, re.DOTALL)]
    assert len(shown) == 2
    for text, block in zip((first, second), shown, strict=True):
        lines = shape(text)
        assert [line for line in block if line not in lines] == []
    # The first block shows each task of the run.
    assert {line for line in shape(first) if line.startswith("✓")} <= set(shown[0])

    # What was learnt wrong is worse at the examples of before: refused, and the current model stays.
    held_out = tmp_path / "held out.csv"
    held_out.write_text("".join(data.read_text().splitlines(keepends=True)[:200]))
    data.write_text(messages({"red": "blue", "blue": "red"}))
    code, third = run_demo(home, *named, "--validation", str(held_out), **environment)
    assert code == 3, third
    assert "The current model stays in use." in third
    assert "/eval_total_loss" in third

    assert (tmp_path / "calls").read_text() == ""


@pytest.mark.parametrize("host", ["203.0.113.1", "iamcredentials.googleapis.com"])
def test_a_closed_network_tells_who_was_called(tmp_path: Path, host: str) -> None:
    code = f"import socket; socket.create_connection(({host!r}, 443), timeout=5)"
    environment = {**os.environ, **closed_network(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "the network is closed" in done.stderr
    assert host in (tmp_path / "calls").read_text()


def shape(output: str) -> list[str]:
    """The lines of an output without figures, names, paths, and the contents of tables."""
    text = re.sub(r"(?m)^.*\.csv: ", "data: ", re.sub(r"retrain_\w+", "retrain_", output))
    text = re.sub(r"\S*/\S*", "/", re.sub(r"\d[\d,.:T+-]*", "0", text))
    lines = (re.sub(r"[─━ ]+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line and line[0] not in "│┏┡└"]


def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        eventually(lambda: len(left_running(tmp_path)) >= 5)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    # A shell says 130 for both: Python ends itself by the signal when it struck in code made from a string.
    assert process.returncode in (130, -signal.SIGINT), output
    assert "Stopped." in output
    assert left_running(tmp_path) == []


# Told before anything is started


def refused(home: Path, *arguments: str, command: str = "demo", cwd: Path | None = None, **environment: str) -> str:
    """The output of a command that ends at once.

    The time is that of the processor: others use the machine, too.
    """
    ports = {"AIRFLOW_PORT": str(free_port()), "EMULATOR_PORT": str(free_port())}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "include.local", command, *arguments],
        env={**os.environ, "AIRFLOW_HOME": str(home), "PYTHONPATH": str(PROJECT_DIR), **ports, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    after = os.times()
    assert (done.returncode, done.stderr) == (1, "")
    assert after.children_user + after.children_system - before.children_user - before.children_system < 3
    assert left_running(home) == []
    assert not (home / "airflow.db").exists()
    assert not (home / "tunings").exists()
    return done.stdout


@pytest.mark.parametrize("command", ["demo", "up"])
@pytest.mark.parametrize("variable", ["AIRFLOW_PORT", "EMULATOR_PORT"])
def test_a_taken_port_is_named_with_the_variable_that_changes_it(tmp_path: Path, variable: str, command: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        output = refused(tmp_path, command=command, cwd=tmp_path, **{variable: port})
    assert output.startswith(f"Port {port} is taken")
    [other] = re.findall(rf"{variable}=(\d+)", output)
    assert 0 < int(other) < 65_536


@pytest.mark.parametrize("port", ["0", "65536", "8e3", "-1", "²"])
def test_a_port_that_is_none_is_told(tmp_path: Path, port: str) -> None:
    assert f"AIRFLOW_PORT: found {port!r}, expected a number" in refused(tmp_path, AIRFLOW_PORT=port)


GOOD = "prompt,response\n" + "".join(f"question {n},answer {n % 2}\n" for n in range(40))
ROW = '{"contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]}\n'

MISTAKES: dict[str, tuple[str, str, list[str], str]] = {
    "columns": (
        "a.csv",
        GOOD.replace("prompt,", "text,"),
        [],
        "found 1 error. a.csv: found 'text', 'response', expected",
    ),
    "columns' advice": (
        "a.csv",
        GOOD.replace("prompt,", "text,"),
        [],
        "once each. If the prompt and the response each",
    ),
    "named columns": ("a.csv", GOOD, ["--prompt", "question"], "expected the columns 'question' and 'response'"),
    "bad row": ("a.jsonl", ROW + '{"contents": []}\n', [], "a.jsonl, line 2: contents: found an empty list"),
    "fields": ("a.jsonl", '{"in": "a", "out": "b"}\n', [], "name both: PROMPT=… RESPONSE=…"),
    "empty": ("a.jsonl", "", [], "no usable rows"),
    "few": ("a.jsonl", ROW, [], "too few to hold some out for judging the model"),
    "no ending": ("a.txt", ROW, [], "expected .jsonl, .csv"),
    "pattern": ("a[1].jsonl", ROW, [], "found '[' ']' in the path"),
    "template": ("{{a}}.jsonl", ROW, [], "found '{' '}' in the path"),
    "task": ("a.csv", GOOD, ["--task", "clasification"], "task: found 'clasification', expected one of classification"),
    "name": ("a.csv", GOOD, ["--name", "My data"], "NAME: found 'My data', expected a lower-case letter"),
    "no name": ("数据.csv", GOOD, [], "NAME: found '', expected a lower-case letter"),
    "sample's name": ("support triage.csv", GOOD, [], "'support_triage', which is a tuning of include/tunings"),
    "validation": ("a.csv", GOOD, ["--validation", "b.csv"], "VALIDATION=b.csv: found no such file"),
}


@pytest.mark.parametrize(("file", "content", "arguments", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_before_anything_is_started(
    tmp_path: Path, file: str, content: str, arguments: list[str], told: str
) -> None:
    (tmp_path / file).write_text(content)
    output = refused(tmp_path / "home", "--dataset", file, *arguments, cwd=tmp_path)
    assert told in " ".join(output.split())


@pytest.mark.parametrize(("path", "found"), [("nowhere.csv", "no such file"), (".", "a folder"), ("", "a folder")])
def test_a_path_that_leads_to_no_file_is_told(tmp_path: Path, path: str, found: str) -> None:
    assert f"found {found} in {tmp_path}" in refused(tmp_path / "home", "--dataset", path, cwd=tmp_path)


def test_an_absolute_path_that_leads_to_no_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.csv"
    assert f"DATASET={path}: found no such file, expected" in refused(tmp_path / "home", "--dataset", str(path))


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may read every file")
    (tmp_path / "a.csv").write_text(GOOD)
    (tmp_path / "a.csv").chmod(0)
    assert "a.csv" in refused(tmp_path / "home", "--dataset", "a.csv", cwd=tmp_path)


def test_what_is_said_of_data_needs_data(tmp_path: Path) -> None:
    assert "PROMPT: found without DATASET" in refused(tmp_path, "--prompt", "text")


def test_all_findings_stay_where_they_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n" * 30)
    output = refused(tmp_path / "home", "--dataset", str(tmp_path / "a.jsonl"))
    report = Path(output.partition("All findings: ")[2].splitlines()[0])
    assert {finding.get("line") for finding in json.loads(report.read_text())["findings"]} >= set(range(1, 31))
    assert open_to_others(tmp_path / "home") == {}


# The tuning of own data


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("tickets.csv", "tickets"),
        ("My Tickets (2026-11).jsonl.gz", "my_tickets_2026_11"),
        ("2026.csv", "data_2026"),
        ("x" * 80 + ".jsonl", "x" * 63),
        ("a.b.csv.GZ", "a_b"),
    ],
)
def test_a_tuning_is_named_by_its_file(file: str, name: str) -> None:
    assert name_of(Path(file)) == name


def own_data(
    tmp_path: Path, content: str = GOOD, console: Console | None = None, **fields: Any
) -> tuple[Stack, Tuning]:
    """Write the tuning of a dataset, and read it as Airflow does."""
    data = OwnData(**{"dataset": tmp_path / "mine.csv", **fields})
    data.dataset.write_text(content)
    stack = Stack(home=tmp_path / "home", airflow_port=1, emulator_port=2)
    name = write_tuning(data, stack, console or Console(quiet=True))
    return stack, load_tuning(stack.tunings.path(name))


def test_the_tuning_has_its_own_cases_and_rule_and_nothing_of_the_samples(tmp_path: Path) -> None:
    stack, tuning = own_data(tmp_path)
    assert (tuning.gates, tuning.smoke_test.system_instruction) == ([], None)
    for case in tuning.smoke_test.cases:
        assert case.keys() == {"prompt", "equals"}
        assert f"{case['prompt']},{case['equals']}\n" in GOOD
    assert tuning.smoke_test.min_pass_share == 0  # for information: a wrong label does not refuse the model
    assert tuning.rule == {"value": "sample.exact_share"}
    assert tuning.dataset.validation_fraction == 0.15
    assert str(tmp_path) in stack.environment()["AIRFLOW__VERTEX_TUNING__DATASET_DIRS"].split(":")


def test_sentences_are_judged_by_their_loss(tmp_path: Path) -> None:
    content = "prompt,response\n" + "".join(f"question {n},A long answer about {n}.\n" for n in range(40))
    _, tuning = own_data(tmp_path, content)
    assert tuning.rule == {"value": "eval_total_loss.last", "higher_is_better": False}
    assert tuning.task is None
    assert all(case["min_length"] == 1 and "equals" not in case for case in tuning.smoke_test.cases)


@pytest.mark.parametrize(
    "labels", [("no", "0100"), ("2026-01-01", "1_000"), ("~", "y"), ("1:30", "0x1F"), ("=", "'a': b")]
)
def test_labels_that_yaml_would_read_as_something_else_stay_texts(tmp_path: Path, labels: tuple[str, str]) -> None:
    content = "prompt,response\n" + "".join(f"question {n},{labels[n % 2]}\n" for n in range(40))
    _, tuning = own_data(tmp_path, content)
    assert {case["equals"] for case in tuning.smoke_test.cases} <= set(labels)


def test_it_runs_by_itself_only_with_a_schedule_that_the_user_has_written(tmp_path: Path) -> None:
    stack, tuning = own_data(tmp_path)
    assert tuning.schedule
    assert tuning.schedule.cron is None
    path = stack.tunings.path(tuning.name)
    path.write_text(path.read_text().replace("schedule: {}", "schedule: {cron: 0 6 * * 1}"))
    _, tuning = own_data(tmp_path)
    assert tuning.schedule
    assert tuning.schedule.cron == "0 6 * * 1"


def test_what_was_found_in_the_data_is_printed(tmp_path: Path) -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    (tmp_path / "mine.csv").write_text(GOOD)
    (tmp_path / "other.csv").write_text(GOOD.replace("question", "example"))
    data = OwnData(tmp_path / "mine.csv", validation=tmp_path / "other.csv")
    write_tuning(data, Stack(home=tmp_path / "home", airflow_port=1, emulator_port=2), console)
    output = console.export_text()
    assert "40 training examples, 40 validation examples; answers are 2 labels." in output
    assert "Found 40 training examples, 500 or more are recommended." in output


@pytest.mark.parametrize(("rows", "fraction"), [(999, 0.15), (1000, 0.1)])
def test_the_printed_examples_are_those_of_the_run(tmp_path: Path, rows: int, fraction: float) -> None:
    content = "prompt,response\n" + "".join(f"question {n},answer {n % 2}\n" for n in range(rows))
    console = Console(record=True, width=200, file=io.StringIO())
    _, tuning = own_data(tmp_path, content, console=console)
    assert tuning.dataset.validation_fraction == fraction
    folder = tmp_path / "prepared"
    folder.mkdir()
    source = Source.local(tmp_path / "mine.csv", "mine.csv")
    prepared = prepare([source], options=DatasetOptions(validation_fraction=fraction), folder=folder)
    assert prepared.validation
    counts = f"{prepared.training.rows:,} training examples, {prepared.validation.rows:,} held out"
    assert counts in console.export_text()


def test_texts_that_airflow_would_render_stay_out_of_the_tuning(tmp_path: Path) -> None:
    content = "prompt,response\n" + "".join(f"{{{{ var.value.secret }}}} {n},answer\n" for n in range(40))
    _, tuning = own_data(tmp_path, content)
    assert [case["prompt"] for case in tuning.smoke_test.cases] == ["Hello."]


def test_json_lines_with_named_fields_are_taken(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"in": f"question {n}", "out": f"{n % 2}", "id": n}) + "\n" for n in range(40))
    _, tuning = own_data(tmp_path, rows, dataset=tmp_path / "mine.jsonl", prompt="in", response="out")
    assert tuning.name == "mine"


def test_other_data_of_the_same_name_is_another_tuning_unless_it_is_named(tmp_path: Path) -> None:
    own_data(tmp_path)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "mine.csv"
    with pytest.raises(StackError, match=r"found 'mine', which is the tuning of .*mine\.csv"):
        own_data(tmp_path, dataset=other)
    _, tuning = own_data(tmp_path, dataset=other, name="mine")
    assert tuning.training_data == str(other)


def test_its_dags_stand_beside_those_of_the_project(tmp_path: Path, project_dir: Path) -> None:
    stack, _ = own_data(tmp_path)
    code = f"""
import sys
sys.path[:0] = [{str(project_dir / "plugins")!r}, {str(project_dir / "dags")!r}]
import retrain, rollback, check_tunings
from airflow.sdk import DAG
print(*(value.dag_id for module in (retrain, rollback) for value in vars(module).values() if isinstance(value, DAG)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=stack.environment(), capture_output=True, text=True, check=True
    )
    dags = done.stdout.splitlines()[-1].split()
    assert dags == ["retrain_support_triage", "retrain_mine", "rollback_support_triage", "rollback_mine"]


# How it ended


@pytest.mark.parametrize(
    ("verdict", "errors", "code"),
    [
        ("first", [], 0),
        ("promoted", [], 0),
        ("skipped", [], 0),
        ("refused", [], 3),
        ("undecided", [], 3),
        ("refused", ["ModelRefusedError: is refused"], 3),
        ("failed", ["SmokeTestError: 0 of 3"], 3),
        ("failed", ["ChampionError: answers no more"], 3),
        ("failed", ["TuningJobFailedError: internal"], 1),
        ("failed", ["ModelRefusedError: is refused", "VertexRequestError: no"], 1),
        ("failed", ["Its log has no error."], 1),
        ("failed", [], 1),
        (None, [], 1),
    ],
)
def test_the_exit_code_tells_a_refused_model_from_a_broken_run(
    verdict: str | None, errors: list[str], code: int
) -> None:
    failed = [Failure("task", error, Path("log")) for error in errors]
    assert exit_code({"verdict": verdict} if verdict else None, failed) == code


# What make passes on


def test_make_passes_on_what_is_named_on_its_command_line_as_it_is(project_dir: Path) -> None:
    shown = make_demo(project_dir, 'DATASET=it\'s my "data".csv', "PROMPT=text")
    assert '--dataset "$DATASET"' in shown
    assert '--prompt "$PROMPT"' in shown
    assert "--name" not in shown


def test_a_name_of_the_shells_is_no_name_of_the_tuning(project_dir: Path) -> None:
    assert "--name" not in make_demo(project_dir, NAME="workstation")


@pytest.mark.parametrize(
    ("variable", "advice"),
    [("PROMT", "did you mean PROMPT?"), ("dataset", "did you mean DATASET?"), ("XYZ", "expected one of AIRFLOW_PORT ")],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(project_dir: Path, variable: str, advice: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--dry-run", "demo", f"{variable}=text"],
        cwd=project_dir,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"{variable}: unknown variable, {advice}" in done.stderr


def make_demo(project_dir: Path, *variables: str, **environment: str) -> str:
    """The command that `make demo` would run."""
    done = subprocess.run(
        ["make", "--dry-run", "demo", *variables],
        cwd=project_dir,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return " ".join(done.stdout.partition("include.local demo")[2].replace("\\\n", " ").split())
