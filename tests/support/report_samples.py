"""What the tasks of a run return, as the report is made from it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from vertex_tuning.costs.pricing import Cost
from vertex_tuning.metrics.series import Point, Series, SeriesColumns, columns, summarise
from vertex_tuning.operators.report import TASK_IDS
from vertex_tuning.report.material import Material
from vertex_tuning.results import (
    RETRAINING_ROLES,
    AnswerSet,
    DatasetFile,
    Distribution,
    EvaluationResult,
    FileReport,
    JobResult,
    MetricsResult,
    Role,
    SmokeAnswer,
    SmokeResult,
    Statistics,
    UploadResult,
)

PLACE = "projects/123456789/locations/us-central1"
FOLDER = "gs://bucket/datasets/ab12"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></title>&lt;"
RIGHT_TO_LEFT = "\u202eevil\u202c \u05e9\u05dc\u05d5\u05dd"


def series(steps: int = 400, validations: int = 8) -> list[Series]:
    """Curves of a training that over-fits: the validation loss turns at two thirds."""

    def make(name: str, at: list[int], value: Any) -> Series:
        return Series(name, [Point(step, value(step / steps), "2026-03-02T06:30:00Z") for step in at])

    every, some = list(range(1, steps + 1)), [steps * (n + 1) // validations for n in range(validations)]
    return [
        make("/train_total_loss", every, lambda x: 2.6 * math.exp(-4 * x) + 0.1 * math.sin(900 * x) + 0.2),
        make("/train_fraction_of_correct_next_step_preds", every, lambda x: 0.95 - 0.7 * math.exp(-5 * x)),
        make("/train_num_predictions", every, lambda _: 512),
        make("/eval_total_loss", some, lambda x: 2.6 * math.exp(-4 * x) + 0.3 + max(0, x - 0.6)),
        make("/eval_fraction_of_correct_next_step_preds", some, lambda x: 0.9 - 0.7 * math.exp(-5 * x)),
    ]


def answer(prompt: str, text: str, problem: str = "", **fields: Any) -> SmokeAnswer:
    common = {"name": "case", "finish_reason": "STOP", "latency": 0.42, "tokens": 31}
    return SmokeAnswer(**{**common, "prompt": prompt, "answer": text, "problem": problem, **fields})


def asked(*answers: SmokeAnswer) -> dict[str, Any]:
    passed = sum(not answer.problem for answer in answers)
    found: dict[str, Any] = msgspec.to_builtins(AnswerSet(passed, len(answers), list(answers)))
    return found


def distribution() -> dict[str, Any]:
    buckets = [{"count": count, "left": 10.0 * n, "right": 10.0 * (n + 1)} for n, count in enumerate((3, 90, 40, 0, 7))]
    return {"sum": 2210, "min": 4, "max": 50, "mean": 15.8, "median": 14.0, "p5": 8.0, "p95": 44.0, "buckets": buckets}


def job(steps: int = 400) -> dict[str, Any]:
    checkpoints = [{"checkpoint_id": str(n), "epoch": n, "step": steps * n // 4} for n in (1, 2, 3, 4)]
    return {
        "name": f"{PLACE}/tuningJobs/4711",
        "state": "JOB_STATE_SUCCEEDED",
        "create_time": "2026-03-02T06:00:11.123456Z",
        "start_time": "2026-03-02T06:01:41Z",
        "end_time": "2026-03-02T06:48:03Z",
        "base_model": "gemini-3.1-flash-lite",
        "tuned_model_display_name": "support-triage",
        "supervised_tuning_spec": {
            "training_dataset_uri": f"{FOLDER}/training.jsonl",
            "hyper_parameters": {
                "epoch_count": 4,
                "learning_rate_multiplier": 1.0,
                "adapter_size": "ADAPTER_SIZE_SIXTEEN",
            },
        },
        "experiment": f"{PLACE}/metadataStores/default/contexts/tuning-experiment-1",
        "tuned_model": {
            "model": f"{PLACE}/models/99@3",
            "endpoint": f"{PLACE}/endpoints/55",
            "checkpoints": checkpoints,
        },
        "tuning_data_stats": {
            "supervised_tuning_data_stats": {"tuning_dataset_example_count": 500, "total_billable_token_count": 48211}
        },
    }


def upload() -> dict[str, Any]:
    cost = Cost(
        model="gemini-3.1-flash-lite", tokens=48011, epochs=4, training_tokens=192044, price=3.0, amount=0.576132,
        currency="USD", price_date="2026-01-15", counted="estimate",
    )  # fmt: skip
    file = {"name": "data/training.jsonl", "format": "contents", "rows": 520, "bytes": 182733, "tokens": 48011}
    return {
        "training_uri": f"{FOLDER}/training.jsonl",
        "validation_uri": f"{FOLDER}/validation.jsonl",
        "dataset_hash": "9f2c" * 16,
        "training": {**file, "sha256": "9f2c" * 16},
        "validation": {**file, "name": "data/validation.jsonl", "rows": 96, "sha256": "1f2c" * 16},
        "warnings": ["3 examples are exact duplicates."],
        "cost": msgspec.to_builtins(cost),
    }


def metrics(curves: list[Series], steps: int = 400) -> dict[str, Any]:
    checkpoints = [
        {
            "checkpoint_id": str(n),
            "epoch": n,
            "step": steps * n // 4,
            "endpoint": "",
            "metrics": {"/eval_total_loss": 0.9 - n / 10},
        }
        for n in (1, 2, 3, 4)
    ]
    return {
        "metrics": msgspec.to_builtins(summarise(curves)),
        "values": {"eval_total_loss.last": 0.51, "billed_tokens": 192844.0},
        "overfitting": {
            "found": True,
            "step": steps * 3 // 4,
            "epoch": 3,
            "best": 0.5,
            "best_step": 1,
            "last": 0.6,
            "tolerance": 0,
        },
        "epochs": [],
        "checkpoints": checkpoints,
        "best_checkpoint": checkpoints[1],
        "warnings": [f"The model is over-fitted from epoch 3 (step {steps * 3 // 4}) on."],
    }


def evaluation() -> dict[str, Any]:
    ours = asked(answer("Where is my parcel?", "shipping"), answer("Refund, please.", "billing"))
    theirs = asked(answer("Where is my parcel?", "shipping"), answer("Refund, please.", "cancel", "expected 'billing'"))
    return {
        "verdict": "better",
        "reasons": [],
        "model": f"{PLACE}/models/99@3",
        "champion": {"model": f"{PLACE}/models/99@2"},
        "gates": [
            {"value": "eval_total_loss.last", "found": 0.51, "limit": "at most 0.6", "verdict": "passed"},
            {"value": "smoke.latency_p95", "found": None, "limit": "at most 5", "verdict": "missing"},
        ],
        "comparison": {
            "rule": {"value": "sample.exact_share", "higher_is_better": True, "min_gain": 0.01},
            "values": {"sample.exact_share": {"champion": 0.5, "challenger": 1.0}},
            "notes": [],
        },
        "answers": {"champion": {"cases": theirs}, "challenger": {"cases": ours}},
    }


LABELS = ("shipping", "billing", "account")


def sampled_row(number: int, reference: str, **answers: str) -> dict[str, Any]:
    """An example with the answers of the models, as `evaluation.json` has it."""
    wrong = {model: f"expected {reference!r}, found {text!r}" for model, text in answers.items() if text != reference}
    return {
        "id": f"{number:012x}",
        "prompt": f"Message {number}: what is this about?",
        "reference": reference,
        "answers": answers,
        "problems": wrong,
        "scores": {"sample.exact_share": {model: float(model not in wrong) for model in answers}},
    }


def sampled_rows(count: int = 200) -> list[dict[str, Any]]:
    """A sample of three labels. In 20 rows, the new model is wrong 3 times, the model in use twice, the base always."""
    rows = []
    for number in range(count):
        reference, turn = LABELS[number % 3], number % 20
        confused = LABELS[(number + 1) % 3]
        new = confused if turn in (3, 4) else "I do not know." if turn == 5 else reference
        old = confused if turn in (4, 9) else reference
        rows.append(sampled_row(number, reference, champion=old, challenger=new, baseline="Let me see."))
    return rows


def compared_evaluation(rows: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    """An evaluation by a sample, as the file in the run's folder has it: the sample cannot tell."""
    rows = sampled_rows() if rows is None else rows
    counts = {
        model: {"sample": {"passed": sum(model not in row["problems"] for row in rows), "total": len(rows)}}
        for model in ("champion", "challenger", "baseline")
    }
    shares = {model: found["sample"]["passed"] / len(rows) for model, found in counts.items()}
    gain = {
        "observed": shares["challenger"] - shares["champion"], "lower": -0.0836, "upper": -0.0186, "confidence": 0.95,
        "examples": len(rows), "better": len(rows) // 20, "worse": len(rows) // 10, "p_value": 0.0987,
    }  # fmt: skip
    return {
        **evaluation(),
        "verdict": "undecided",
        "reasons": ["200 examples cannot tell. About 8,340 would, if the models go on to differ as often."],
        "comparison": {
            "rule": {"value": "sample.exact_share"},
            "values": {"sample.exact_share": shares, "smoke.pass_share": {"champion": 1.0, "challenger": 1.0}},
            "gain": gain,
            "needed": 8340,
        },
        "baseline": "gemini-3.1-flash-lite",
        "settings": {"max_output_tokens": 1024, "thinking_config": {"thinking_level": "MINIMAL"}},
        "answers": counts,
        "rows": rows,
        "result_uri": f"{FOLDER}/runs/0011223344556677/evaluation.json",
        **fields,
    }


def first_evaluation() -> dict[str, Any]:
    """An evaluation of a first model, which is compared with the base model only."""
    rows = sampled_rows()
    for row in rows:
        for part in ("answers", "problems"):
            row[part].pop("champion", None)
    found = compared_evaluation(rows, verdict="first", reasons=[], champion=None)
    found["comparison"] |= {"gain": None, "needed": None}
    for value in found["comparison"]["values"].values():
        value["champion"] = None
    del found["answers"]["champion"]
    return found


def compared() -> Material:
    """A run whose sample cannot tell, with the answers of all models."""
    return undecided(compared_evaluation())


def first() -> Material:
    """A run whose model is the first."""
    return material(smoke=smoke_of_cases(), evaluation=first_evaluation())


def undecided(evaluated: dict[str, Any]) -> Material:
    made = material(smoke=smoke_of_cases(), evaluation=evaluated)
    states = {**made.states, TASK_IDS["evaluation"]: "skipped", TASK_IDS["promotion"]: "skipped"}
    return msgspec.structs.replace(made, states=states)


def smoke_of_cases() -> dict[str, Any]:
    return {**smoke(), "sample": asked()}


def hostile_rows() -> Material:
    """A sample of 30 labels that try to be something else, with an answer of 10 kB."""
    names = [
        HOSTILE,
        RIGHT_TO_LEFT,
        "\x1b[31mred\x00\ud83d",
        "W" * 10_000,
        *(f"{number} " + "no-break" * 25 for number in range(26)),
    ]
    rows = [
        sampled_row(
            number,
            names[number % 30],
            champion=names[(number + 1) % 30],
            challenger=names[(number + number // 30 % 2) % 30],
            baseline=f"{RIGHT_TO_LEFT} {HOSTILE} " + "lorem ipsum " * 1000,
        )
        | {"prompt": f"{HOSTILE} {RIGHT_TO_LEFT}"}
        for number in range(300)
    ]
    return undecided(compared_evaluation(rows, reasons=[HOSTILE], baseline=HOSTILE))


def smoke() -> dict[str, Any]:
    return {
        "cases": asked(answer("Refund, please.", "billing"), answer("Cancel it.", "billing", "expected 'cancel'")),
        "sample": asked(answer("Where is it?", "shipping")),
    }


KINDS: dict[str, Any] = {
    "upload": UploadResult, "metrics": MetricsResult, "smoke": SmokeResult, "evaluation": EvaluationResult
}  # fmt: skip


def material(steps: int = 400, validations: int = 8, **fields: Any) -> Material:
    """A run that went well, but for what is given."""
    curves = series(steps, validations)
    good: dict[str, Any] = {
        "title": "support_triage",
        "dag_id": "retrain_support_triage",
        "run_id": "scheduled__2026-03-02T05:00:00+00:00",
        "created": "2026-03-02T06:55:12.5+00:00",
        "run_url": "http://localhost:8080/dags/retrain_support_triage/runs/scheduled__2026-03-02",
        "run_folder": f"{FOLDER}/runs/0011223344556677",
        "tasks": {role: role.task_id for role in RETRAINING_ROLES},
        "states": {task: "success" for role, task in TASK_IDS.items() if role != "approval"},
        "upload": upload(),
        "dataset_report": DatasetFile(
            training=FileReport(
                statistics=Statistics(500, 2210, msgspec.convert(distribution(), Distribution)),
                labels={"shipping": 20, "billing": 500},
            )
        ),
        "job": JobResult.parse(job(steps)),
        "metrics": metrics(curves, steps),
        "series": {one.name: columns(one) for one in curves},
        "smoke": smoke(),
        "evaluation": evaluation(),
    }
    given = {**good, **fields}
    results = {name: msgspec.convert(given[name], kind | None) for name, kind in KINDS.items()}
    return Material(**{**given, **results})


def hostile() -> Material:
    """Everything that comes from data or a model tries to be something else."""
    long = "lorem ipsum " * 833 + "end."
    answers = asked(
        answer(HOSTILE, "</script><script>alert(3)</script>" + HOSTILE, f"expected {HOSTILE!r}", name=HOSTILE),
        answer(RIGHT_TO_LEFT, RIGHT_TO_LEFT * 3, finish_reason=HOSTILE),
        answer("Write a lot.", long, latency=0.0, tokens=0),
        answer("W" * 3000, "", "no answer"),
        answer("An emoji cut in two", "\ud83d"),
    )
    refused = {"value": HOSTILE, "found": None, "limit": HOSTILE, "verdict": "missing"}
    judged = evaluation() | {"verdict": "refused", "reasons": [HOSTILE], "gates": [refused]}
    judged["comparison"]["notes"] = [HOSTILE]
    judged["answers"]["champion"]["cases"]["answers"][0]["answer"] = HOSTILE
    bad = upload() | {"warnings": [HOSTILE, RIGHT_TO_LEFT], "dataset_hash": HOSTILE}
    bad["training"] |= {"name": HOSTILE, "format": HOSTILE}
    made = material(title=HOSTILE, run_id=HOSTILE + "x" * 300, upload=bad, evaluation=judged)
    assert made.job
    made.series[f"/eval_{HOSTILE}"] = SeriesColumns(step=[1, 2, 3], value=[1.0, None, 2.0])
    made.dataset_report = DatasetFile(training=FileReport(labels={HOSTILE: 1}))
    made.job = msgspec.structs.replace(made.job, tuned_model_display_name=HOSTILE)
    states = {**made.states, TASK_IDS["evaluation"]: "failed", TASK_IDS["promotion"]: "upstream_failed"}
    asked_cases = msgspec.convert({"cases": answers}, SmokeResult)
    return msgspec.structs.replace(made, states=states, smoke=asked_cases, errors={Role.EVALUATION: HOSTILE})


def nothing() -> Material:
    """The very first task failed."""
    states: dict[str, str | None] = dict.fromkeys(TASK_IDS.values(), "upstream_failed")
    return Material(
        title="t", dag_id="d", run_id="r", created="2026-03-02T06:55:12+00:00",
        tasks={role: role.task_id for role in RETRAINING_ROLES},
        states={**states, TASK_IDS["upload"]: "failed"}, errors={Role.UPLOAD: "training.jsonl, line 3: not JSON"},
    )  # fmt: skip
