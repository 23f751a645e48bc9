"""What a retraining came to, for a person."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from include.local.airflow_api import AirflowApi

ANSWERS_SHOWN: Final = 8
BARS: Final = "▁▂▃▄▅▆▇█"


def print_summary(api: AirflowApi, dag_id: str, run_id: str, console: Console) -> None:
    """Print dataset, job, metrics, the model's answers, the verdict on it and where it is."""
    dataset, job, metrics, smoke_test, evaluation, promotion = (
        api.result(dag_id, run_id, task_id)
        for task_id in (
            "upload_dataset",
            "wait_for_tuning_job",
            "collect_metrics",
            "smoke_test",
            "evaluate_model",
            "promote_model",
        )
    )
    console.print(_dataset(dataset))
    console.print(_job(job))
    console.print(_metrics(metrics["metrics"]))
    for kind, title in (("cases", "Smoke test"), ("sample", "Examples the model has not seen")):
        if smoke_test[kind]["total"]:
            console.print(_answers(smoke_test[kind], title))
    if promotion:
        console.print(_verdict(evaluation, promotion))
    else:
        console.print("The model in use stays: this data is about something else than the tuning's smoke test.")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=bool(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _dataset(dataset: dict[str, Any]) -> Table:
    table = _table("Dataset", "", "rows", "tokens", "object")
    for kind in ("training", "validation"):
        if part := dataset[kind]:
            table.add_row(kind, str(part["rows"]), f"{part['tokens']:,}", dataset[f"{kind}_uri"])
    table.caption = _cost(dataset["cost"])
    return table


def _cost(cost: dict[str, Any]) -> str:
    trained = f"{cost['training_tokens']:,} training tokens"
    return f"{trained}, {cost['currency']} {cost['amount']:.2f} at Google" if cost["amount"] else trained


def _job(job: dict[str, Any]) -> Table:
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
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table


def _metrics(metrics: dict[str, dict[str, Any]]) -> Table:
    table = _table("Metrics", "series", "first", "last", "best", "at step", "course")
    for name, values in sorted(metrics.items()):
        numbers = ("-" if values[key] is None else f"{values[key]:.4g}" for key in ("first", "last", "best"))
        course = _course([value for _, value in values["curve"] if value is not None])
        table.add_row(name, *numbers, str(values["best_step"] or "-"), course)
    return table


def _course(values: list[float]) -> str:
    """A curve in one line of text."""
    if not values:
        return ""
    low, span = min(values), max(values) - min(values)
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span else 0] for value in values)


def _answers(asked: dict[str, Any], title: str) -> Table:
    table = _table(f"{title}: {asked['passed']} of {asked['total']} as expected", "prompt", "answer", "")
    if (more := len(asked["answers"]) - ANSWERS_SHOWN) > 0:
        table.caption = f"and {more} more in the report"
    for answer in asked["answers"][:ANSWERS_SHOWN]:
        table.add_row(escape(answer["prompt"]), escape(answer["answer"]), escape(answer["problem"]) or "✓")
    return table


def _verdict(evaluation: dict[str, Any], promotion: dict[str, Any]) -> Table:
    table = _table("Model in use", "", "")
    rows = {
        "verdict": evaluation["verdict"],
        "model": promotion["model"],
        "endpoint": promotion["endpoint"],
        "before": promotion["previous"] or "none",
    }
    for name, values in evaluation["comparison"]["values"].items():
        rows[name] = ", ".join(f"{side} {value:.4g}" for side, value in values.items() if value is not None)
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table
