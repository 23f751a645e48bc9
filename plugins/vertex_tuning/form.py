"""The form in the Airflow UI that starts a tuning by hand: the YAML file's values, to be changed for one run."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from vertex_tuning.config import MAX_EPOCHS, MAX_LEARNING_RATE_MULTIPLIER, Tuning
from vertex_tuning.jobs import ADAPTER_SIZES
from vertex_tuning.models import TUNABLE_MODELS, retirement_note


def form(tuning: Tuning) -> dict[str, Param]:
    """A DAG's `params`: each with a title, a description and its limits."""
    return {**_data(tuning), **_hyper_parameters(tuning), **_run(tuning), **_model(tuning)}


def _data(tuning: Tuning) -> dict[str, Param]:
    models = list(dict.fromkeys([tuning.base_model, *TUNABLE_MODELS]))
    notes = " ".join(filter(None, map(retirement_note, models)))
    return {
        "base_model": _text("Base model", f"The Gemini model to tune. {notes}".strip(), tuning.base_model, enum=models),
        "training_data": _text(
            "Training data",
            "JSONL or CSV file or a pattern, relative to the project, or a gs:// URI.",
            tuning.training_data,
            minLength=1,
        ),
        "validation_data": Param(
            tuning.validation_data,
            type=["null", "string"],
            title="Validation data",
            description=f"The same. When empty, {_instead(tuning)}.",
        ),
    }


def _instead(tuning: Tuning) -> str:
    fraction = tuning.dataset.validation_fraction
    return f"{fraction:.0%} of the training data is set aside" if fraction else "there are no validation metrics"


def _hyper_parameters(tuning: Tuning) -> dict[str, Param]:
    hyper, top = tuning.hyper_parameters, MAX_LEARNING_RATE_MULTIPLIER
    return {
        "epoch_count": Param(
            hyper.epoch_count,
            type=["null", "integer"],
            minimum=1,
            maximum=MAX_EPOCHS,
            title="Epochs",
            description=f"Passes over the training data, 1 to {MAX_EPOCHS}. The price grows with them. "
            "When empty, as many as the guide recommends for the task.",
        ),
        "learning_rate_multiplier": Param(
            hyper.learning_rate_multiplier,
            type="number",
            exclusiveMinimum=0,
            maximum=top,
            title="Learning-rate multiplier",
            description=f"Factor on the recommended learning rate; above 0, at most {top:g}.",
        ),
        "adapter_size": Param(
            hyper.adapter_size,
            type="integer",
            enum=list(ADAPTER_SIZES),
            title="Adapter size",
            description="Rank of the adapter. Not every model takes every size.",
        ),
    }


def _run(tuning: Tuning) -> dict[str, Param]:
    return {
        "max_cost": Param(
            tuning.budget.max_cost,
            type=["null", "number"],
            exclusiveMinimum=0,
            title="Most the training may cost",
            description="In the currency of the price table. The run ends before the job when it would cost more.",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Train even if nothing has changed",
            description="Without it, a run that would only make a model again that there is, is skipped.",
        ),
    }


def _model(tuning: Tuning) -> dict[str, Param]:
    return {
        "display_name": _text(
            "Tuned model's display name",
            "What people see in the Model Registry.",
            tuning.display_name,
            minLength=1,
            maxLength=128,
        ),
        "ask_smoke_cases": Param(
            True,
            type="boolean",
            title="Ask the smoke-test prompts",
            description="Switch off when the training data is about something else than this tuning's prompts; "
            "then only examples of the validation data are asked, and the model in use stays.",
        ),
    }


def _text(title: str, description: str, value: str, **limits: Any) -> Param:
    return Param(value, type="string", title=title, description=description, **limits)
