"""The form in the Airflow UI that starts a run by hand, with the values of the YAML file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Param

from vertex_tuning.config.base_models import tunable_models
from vertex_tuning.config.hyper_parameters import MAX_EPOCHS, MAX_LEARNING_RATE_MULTIPLIER, MAX_VALUES
from vertex_tuning.config.switches import PATTERN, parse_switch
from vertex_tuning.config.tuning import Tuning
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs.job import ADAPTER_SIZES
from vertex_tuning.text.suggestions import did_you_mean
from vertex_tuning.text.templates import template_mark

if TYPE_CHECKING:
    from airflow.sdk import Context

NOT_BLANK: Final = r"\S"


def form(tuning: Tuning) -> dict[str, Param]:
    """The `params` of a DAG, each with a title, a description and its limits."""
    return {**_data(tuning), **_hyper_parameters(tuning), **_run(tuning), **_model(tuning)}


def known_keys_only(known: Collection[str]) -> Callable[[Context], None]:
    """A `pre_execute` for the first task of a DAG, which rejects unknown keys: Airflow accepts any key in a `conf`.

    :param known: the known keys, in the form of the DAG's `params`
    """

    def check(context: Context) -> None:
        """Check that the form of a run has only known keys.

        :raises ConfigurationError: the run has an unknown key
        """
        for key in context["dag_run"].conf or {}:
            if key not in known:
                advice = did_you_mean(key, known) if known else "expected none."
                raise ConfigurationError(f"conf: found the unknown key {key!r}; {advice} Nothing was started.")

    return check


def from_form(tuning: Tuning) -> Tuning:
    """The tuning of a run: the fields of the form are read from the run's `params`."""
    hyper: dict[str, Any] = {
        "epoch_count": "{{ params.epoch_count or '' }}",
        "learning_rate_multiplier": "{{ params.learning_rate_multiplier }}",
        "adapter_size": "{{ params.adapter_size }}",
    }
    hyper |= {name: [hyper[name]] for name in tuning.hyper_parameters.lists}
    unchanged = "{{ not switch('force', params.force) }}" if tuning.skip_if_unchanged else False
    values = {
        "base_model": "{{ params.base_model }}",
        "training_data": _source(tuning, "training_data"),
        "validation_data": _source(tuning, "validation_data"),
        "test_data": _test_source(tuning),
        "hyper_parameters": tuning.hyper_parameters.model_copy(update=hyper),
        "budget": tuning.budget.model_copy(update={"max_cost": "{{ params.max_cost or '' }}"}),
        "display_name": "{{ params.display_name }}",
        "skip_if_unchanged": unchanged,
    }
    return tuning.model_copy(update=values)


ASK_CASES_FROM_FORM: Final = "{{ switch('ask_smoke_cases', params.ask_smoke_cases) }}"


def form_macros(tuning: Tuning) -> dict[str, Any]:
    """A DAG's `user_defined_macros`, for the templates of `from_form`."""
    return {"tuning": tuning, "switch": parse_switch}


def _source(tuning: Tuning, field: str) -> str:
    """Text of a field: the form's value, unrendered. If it is unchanged, the file's text, which may be a template.

    No other text from the form is rendered: a template can read connections and variables.
    """
    in_form = f"{{{{ params.{field} or '' }}}}"
    own = getattr(tuning, field)
    if not own or not template_mark(own):
        return in_form
    return f"{{% if params.{field} == tuning.{field} %}}{own}{{% else %}}{in_form}{{% endif %}}"


def _test_source(tuning: Tuning) -> str:
    """Text of the field `test_data`. It is empty if the run trains on other data: the own test data does not fit it."""
    other = "params.training_data != tuning.training_data and params.test_data == tuning.test_data"
    return f"{{% if {other} %}}{{% else %}}{_source(tuning, 'test_data')}{{% endif %}}"


def _data(tuning: Tuning) -> dict[str, Param]:
    models = list(dict.fromkeys([tuning.base_model, *tunable_models()]))
    return {
        "base_model": _text(
            "Base model", f"The Gemini model to tune. {tuning.retirement_note}".strip(), tuning.base_model, enum=models
        ),
        "training_data": _text(
            "Training data",
            f"JSONL or CSV file or pattern, relative to the project, or a gs:// URI.{_rendered(tuning.training_data)}",
            tuning.training_data,
            pattern=NOT_BLANK,
        ),
        "validation_data": Param(
            tuning.validation_data,
            type=["null", "string"],
            title="Validation data",
            description=f"Same forms as above. If empty, {_instead(tuning)}.{_rendered(tuning.validation_data)}",
        ),
        "test_data": Param(
            tuning.test_data,
            type=["null", "string"],
            title="Test data",
            description="Same forms as above. Models are compared on it. If empty, or if only the training data is "
            f"changed, they are compared on the validation data.{_rendered(tuning.test_data)}",
        ),
    }


def _rendered(source: str | None) -> str:
    return (
        " The tuning's own template is rendered for the run; another text is used as it is."
        if source and template_mark(source)
        else ""
    )


def _instead(tuning: Tuning) -> str:
    fraction = tuning.dataset.validation_fraction
    return f"{fraction:.0%} of the training data is set aside" if fraction else "there are no validation metrics"


def _hyper_parameters(tuning: Tuning) -> dict[str, Param]:
    top = MAX_LEARNING_RATE_MULTIPLIER
    return {
        "epoch_count": _setting(
            tuning,
            "epoch_count",
            {"type": "integer", "minimum": 1, "maximum": MAX_EPOCHS},
            may_be_empty=True,
            title="Epochs",
            description=f"Passes over the training data, 1 to {MAX_EPOCHS}. The price grows with them. "
            "When empty, as many as the guide recommends for the task.",
        ),
        "learning_rate_multiplier": _setting(
            tuning,
            "learning_rate_multiplier",
            {"type": "number", "exclusiveMinimum": 0, "maximum": top},
            title="Learning-rate multiplier",
            description=f"Factor on the recommended learning rate; above 0, at most {top:g}.",
        ),
        "adapter_size": _setting(
            tuning,
            "adapter_size",
            {"type": "integer", "enum": list(ADAPTER_SIZES)},
            title="Adapter size",
            description="Rank of the adapter. Not every model takes every size.",
        ),
    }


def _setting(
    tuning: Tuning, name: str, schema: Mapping[str, Any], *, title: str, description: str, may_be_empty: bool = False
) -> Param:
    """A field for a setting of the job; in a sweep, for a list of its values.

    :param schema: JSON Schema of one value
    """
    value = getattr(tuning.hyper_parameters, name)
    if name in tuning.hyper_parameters.lists:
        note = f"{description} The run tries each value of the list."
        limits: dict[str, Any] = {"items": dict(schema), "minItems": 1, "maxItems": MAX_VALUES, "uniqueItems": True}
        return Param(value, type="array", title=title, description=note, **limits)
    limits = {**schema, "type": ["null", schema["type"]] if may_be_empty else schema["type"]}
    return Param(value, title=title, description=description, **limits)


def _run(tuning: Tuning) -> dict[str, Param]:
    return {
        "max_cost": Param(
            tuning.budget.max_cost,
            type=["null", "number"],
            exclusiveMinimum=0,
            title="Most the training may cost",
            description="In the currency of the price table. The run ends before the job when it would cost more.",
        ),
        "force": _switch(
            False,
            title="Train even if nothing has changed",
            description="Off: skip the run if a model already exists for the same data and settings.",
        ),
    }


def _model(tuning: Tuning) -> dict[str, Param]:
    return {
        "display_name": _text(
            "Tuned model's display name",
            "What people see in the Model Registry.",
            tuning.display_name or "",
            pattern=NOT_BLANK,
            maxLength=128,
        ),
        "ask_smoke_cases": _switch(
            True,
            title="Ask the smoke-test prompts",
            description="Switch this off if the training data is unrelated to the prompts of this tuning. "
            "The run then tests only examples of the validation data, and the model in use stays.",
        ),
    }


def _switch(value: bool, title: str, description: str) -> Param:
    """A switch in the form; a `conf` may also have it as text, or as 1 or 0."""
    types = ["boolean", "string", "integer"]  # the form shows the first type
    return Param(value, type=types, title=title, description=description, pattern=PATTERN, minimum=0, maximum=1)


def _text(title: str, description: str, value: str, **limits: Any) -> Param:
    return Param(value, type="string", title=title, description=description, **limits)
