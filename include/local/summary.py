"""The results of a retraining, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from include.local.airflow_api import AirflowApi
from include.local.outcome import Failure

ANSWERS_SHOWN: Final = 8
BARS: Final = "▁▂▃▄▅▆▇█"

VERDICTS: Final = {
    "first": "First model: nothing to compare with.",
    "better": "Not worse than the current model.",
    "equal": "Not worse than the current model.",
    "undecided": "Undecided: the sample cannot tell.",
    "unchanged": "The new model is the current model.",
    "refused": "Refused.",
}
"""Sentences by verdict of `evaluate_model`."""

RESULTS: Final = {
    "upload_dataset": (),
    "wait_for_tuning_job": (),
    "collect_metrics": (),
    "smoke_test": ("answers",),
    "evaluate_model": ("evaluation",),
    "promote_model": (),
}
"""XCom keys by task, besides `return_value`, that keep a result even if the task fails."""


def print_summary(api: AirflowApi, dag_id: str, run_id: str, console: Console) -> None:
    """Print dataset, job, metrics, answers, comparison and verdict, as far as the run has them."""
    dataset, job, metrics, smoke_test, evaluation, promotion = (
        _result(api, dag_id, run_id, task_id) for task_id in RESULTS
    )
    if dataset:
        console.print(_dataset(dataset))
    if job:
        console.print(_job(job, _billed(dataset, metrics)))
    if metrics:
        console.print(_metrics(metrics["metrics"]))
    for kind, title in (("cases", "Smoke test"), ("sample", "Examples the model has not seen")):
        if smoke_test and smoke_test[kind]["total"]:
            console.print(_answers(smoke_test[kind], title))
    if evaluation:
        if values := evaluation["comparison"]["values"]:
            console.print(_comparison(values))
        lines = evidence_lines(evaluation, promoted=bool(promotion))
        console.print("\n".join([*lines, ""]), style="bold", markup=False, highlight=False, soft_wrap=True)


def _result(api: AirflowApi, dag_id: str, run_id: str, task_id: str) -> Any:
    """The result of a task, or what it pushed before it failed; None without either."""
    results = (api.result(dag_id, run_id, task_id, key) for key in ("return_value", *RESULTS[task_id]))
    return next(filter(None, results), None)


def print_failures(failed: Sequence[Failure], console: Console) -> None:
    """Print each failed task with its error and the path of its log."""
    for failure in failed:
        console.print(f"[red bold]{failure.task_id} failed:[/]")
        console.print(f"{failure.error}\nIts log: {failure.log}", markup=False, highlight=False, soft_wrap=True)


def print_next(console: Console, *, run_url: str, report: Path | None, tuning: Path, has_schedule: bool) -> None:
    """Print where to see the run and what to do next.

    :param report: page about the run; None if none was written
    :param tuning: file of the tuning
    :param has_schedule: whether the tuning runs by itself
    """
    rows = {
        "the run's report": report or "none was written",
        "the run in Airflow": f"make up, then {run_url}",
        "the tuning": tuning,
        "another run": "the same command: its model is compared with the model in use",
        **({} if has_schedule else {"a schedule": "not set: write schedule.cron in the tuning, then make up"}),
    }
    console.print("What next", style="bold")
    for name, value in rows.items():
        console.print(f"  {name:<19} {value}", markup=False, highlight=False, soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=bool(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _dataset(dataset: dict[str, Any]) -> Table:
    table = _table("Dataset", "", "rows", "tokens", "object")
    for kind in ("training", "validation", "test"):
        if part := dataset.get(kind):
            table.add_row(kind, str(part["rows"]), f"{part['tokens']:,}", dataset[f"{kind}_uri"])
    cost = dataset["cost"]
    table.caption = f"estimated: {_cost(cost, cost['training_tokens'])}"
    return table


def _billed(dataset: dict[str, Any] | None, metrics: dict[str, Any] | None) -> str:
    """The price by the token count of the service, which is what Google bills; empty if it is not known."""
    tokens = metrics and metrics["values"].get("billed_tokens")
    return _cost(dataset["cost"], int(tokens)) if dataset and tokens else ""


def _cost(cost: dict[str, Any], tokens: int) -> str:
    trained = f"{tokens:,} training tokens"
    return f"{trained}, {cost['currency']} {cost['price'] * tokens / 1e6:.2f} at Google" if cost["price"] else trained


def _job(job: dict[str, Any], billed: str) -> Table:
    table = _table("Tuning job", "", "")
    hyper = job["supervised_tuning_spec"]["hyper_parameters"]
    model = job["tuned_model"]
    rows = {
        "job": job["name"],
        "base model": job.get("base_model", ""),
        "settings": ", ".join(f"{name} {value}" for name, value in hyper.items()),
        "checkpoints": str(len(model.get("checkpoints", []))),
        "tuned model": model["model"],
        "endpoint": model["endpoint"],
        **({"billed": billed} if billed else {}),
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table


def _metrics(metrics: dict[str, dict[str, Any]]) -> Table:
    table = _table("Metrics", "series", "first", "last", "best", "at step", "course")
    for name, values in sorted(metrics.items()):
        numbers = (_number(values[key]) for key in ("first", "last", "best"))
        course = _course([value for _, value in values["curve"] if value is not None])
        table.add_row(name, *numbers, str(values["best_step"] or "-"), course)
    return table


def _course(values: list[float]) -> str:
    """A curve as one line of text."""
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span else 0] for value in values)


def _answers(answers: dict[str, Any], title: str) -> Table:
    """Answers of the smoke test; a task's result holds some of them, and the report all."""
    table = _table(f"{title}: {answers['passed']} of {answers['total']} as expected", "prompt", "answer", "")
    if answers["total"] > ANSWERS_SHOWN:
        table.caption = f"{ANSWERS_SHOWN} of {answers['total']}; all in the report"
    for answer in answers["answers"][:ANSWERS_SHOWN]:
        table.add_row(escape(answer["prompt"]), escape(answer["answer"]), escape(answer["problem"]) or "✓")
    return table


def _comparison(values: Mapping[str, Mapping[str, float | None]]) -> Table:
    models = {"base model": "baseline", "current model": "champion", "new model": "challenger"}
    shown = {
        title: model
        for title, model in models.items()
        if any(sides.get(model) is not None for sides in values.values())
    }
    table = _table("Comparison", "value", *shown)
    for name, sides in values.items():
        table.add_row(escape(name), *(_number(sides.get(model)) for model in shown.values()))
    return table


def evidence_lines(evaluation: Mapping[str, Any], *, promoted: bool) -> list[str]:
    """The verdict, the gain with its interval, and the rule's value of each model; then the reasons.

    :param evaluation: XCom of `evaluate_model`
    :param promoted: whether the new model is in use now
    """
    stays = "The current model stays in use." if evaluation["champion"] else "No model is in use."
    after = "The new model is in use now." if promoted else stays
    verdict = VERDICTS.get(evaluation["verdict"], evaluation["verdict"])
    return [f"{verdict} {after}", *_gain(evaluation["comparison"]), *_models(evaluation), *evaluation["reasons"]]


def _gain(comparison: Mapping[str, Any]) -> list[str]:
    """The gain with its interval as a line of text; empty without a confidence bound."""
    gain = comparison["gain"]
    if not gain:
        return []
    observed, lower, upper = (f"{gain[name]:+.3f}" for name in ("observed", "lower", "upper"))
    return [
        f"Gain {observed}, bounds {lower} and {upper} with {gain['confidence'] * 100:.4g} % confidence each, "
        f"in {gain['examples']} examples"
    ]


def _models(evaluation: Mapping[str, Any]) -> list[str]:
    """The rule's value of each model as a line of text; empty for a new model without another."""
    comparison = evaluation["comparison"]
    value = (comparison["rule"] or {}).get("value", "")
    found = comparison["values"].get(value)
    models = {"base model": "baseline", "current model": "champion", "new model": "challenger"}
    known = [f"{name} {found[model]:.4g}" for name, model in models.items() if found and found[model] is not None]
    return [f"{value}: {' → '.join(known)}"] if len(known) > 1 else []


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
