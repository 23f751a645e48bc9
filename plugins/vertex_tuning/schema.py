"""Models that check configuration, in a YAML file or as arguments in Python. Pure.

In Python, some fields also accept a value that only a run knows: a template, or the result of another task. A model
lists these fields with :func:`known_in_a_run`. A file may have a template only if the type of the field allows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain, without_secrets
from vertex_tuning.text.suggestions import did_you_mean, nearest
from vertex_tuning.text.template_syntax import check_template
from vertex_tuning.text.templates import is_run_value, without_templates

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:  # pydantic does not publish the type of its models
    ModelMetaclass = type(BaseModel)

FieldPath = tuple[str | int, ...]

FROM_FILE: Final[Mapping[str, Any]] = {"from_file": True}
"""Validation context of pydantic for a file."""

_FIELD_MISTAKE: Final = "field_mistake"
"""Type of an error whose text describes the expected value of its field."""
_LISTED_MISTAKES: Final = "listed_mistakes"
"""Type of an error whose text has a mistake in each line, with its field."""


class _CheckedType(ModelMetaclass):
    """Metaclass of models whose constructor raises this project's error messages."""

    def __call__(cls, *args: Any, **fields: Any) -> Any:  # noqa: N805 - the class of a class
        """Create a model from checked values.

        :raises ConfigurationError: has a line for every mistake
        """
        try:
            return super().__call__(*args, **fields)
        except ValidationError as error:
            raise ConfigurationError("\n".join(mistakes_of(error, cls))) from error


class Model(BaseModel, metaclass=_CheckedType):
    """Base of configuration models: plain values, no unknown fields, no conversion between types."""

    # pydantic's own errors do not quote a value, because it may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True)


# Checks of a field


def checked(check: Callable[[Any], Any]) -> AfterValidator:
    """A validator from a check that raises ConfigurationError."""
    return AfterValidator(_validate_by(check))


def _validate_by(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def validate(value: Any) -> Any:
        try:
            check(value)
        except ConfigurationError as error:
            raise PydanticCustomError(_FIELD_MISTAKE, "{text}", {"text": str(error)}) from error
        return value

    return validate


def checked_in_parts(mistakes: Callable[[Any], Iterable[str]]) -> AfterValidator:
    """A validator from a check that yields mistakes, each with its field."""

    def validate(value: Any) -> Any:
        refuse(mistakes(value))
        return value

    return AfterValidator(validate)


def refuse(mistakes: Iterable[str]) -> None:
    """Raise an error if there are mistakes. Each mistake begins with its field."""
    if found := list(mistakes):
        lines = "\n".join(" ".join(mistake.splitlines()) for mistake in found)
        raise PydanticCustomError(_LISTED_MISTAKES, "{text}", {"text": lines})


def is_from_file(info: ValidationInfo) -> bool:
    """Whether the values come from a YAML file."""
    return bool(info.context and info.context.get("from_file"))


def known_in_a_run(*fields: str) -> Any:
    """A validator for fields that may also be a template or the result of another task, unless a file has them."""

    def validate(value: Any, check: Callable[[Any], Any], info: ValidationInfo) -> Any:
        if is_from_file(info) or not is_run_value(value):
            return check(value)
        if isinstance(value, str):
            _check_template(value)
        return value

    return field_validator(*fields, mode="wrap")(staticmethod(validate))


def required_in_files(*fields: str) -> Any:
    """A validator for fields that may be left out in Python only."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        if value is None and is_from_file(info):
            raise PydanticCustomError("missing", "Field required")
        return value

    return field_validator(*fields)(staticmethod(validate))


def _not_blank(text: str) -> None:
    if not text.strip():
        raise ConfigurationError("expected a text.")


def _plain_in_files(value: Any, info: ValidationInfo) -> Any:
    return _without_templates(value) if is_from_file(info) else value


_check_template: Final = _validate_by(check_template)
_without_templates: Final = _validate_by(without_templates)

Plain: Final = AfterValidator(_plain_in_files)
"""No template in a file: Airflow would render it, or send it to Google as it is."""
PlainText = Annotated[str, checked(_not_blank), Plain]
Template = Annotated[str, checked(_not_blank), checked(check_template)]
"""A text that Airflow renders for each run."""


# Fields and mistakes in words


def field_name(path: FieldPath) -> str:
    """A field as text: `smoke_test.cases[0].prompt`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def field_path(name: str) -> FieldPath:
    """Parse the field at the beginning of a text, as `field_name` writes it."""
    written = re.match(r"[\w.\[\]-]*", name)
    steps = re.findall(r"\[(\d+)\]|([\w-]+)", written[0] if written else "")
    return tuple(int(index) if index else key for index, key in steps)


def mistakes_of(error: ValidationError, model: Any) -> list[str]:
    """A line for each mistake.

    :param model: the class whose fields were validated
    """
    described = (text for item in error.errors(include_url=False) for _, text in describe_error(item, model))
    return [plain(without_secrets(text), MESSAGE_SHOWN) for text in described]


def describe_error(
    item: ErrorDetails, model: type[BaseModel], hidden: tuple[str, ...] = (), *, with_advice: bool = True
) -> Iterator[tuple[FieldPath, str]]:
    """Describe an error of pydantic in this project's terms: each mistake with its field.

    :param hidden: fields of the model that are not suggested
    :param with_advice: whether to look for a similar name of an unknown field, which takes time
    """
    if item["type"] == _LISTED_MISTAKES:
        yield from ((field_path(text), text) for text in item["msg"].splitlines())
        return
    # pydantic marks steps that are no fields: the key of a mapping, and the kind of a value.
    path: FieldPath = tuple(step for step in item["loc"] if not str(step).startswith("["))
    if item["type"] == "extra_forbidden":
        text = f"unknown field; {_advice(path, model, hidden)}" if with_advice else "unknown field."
    elif item["type"] == "missing":
        text = "found nothing, expected a value: the field is required."
    else:
        text = f"found {_short(item['input'])}, {_expected(item)}"
    yield path, f"{field_name(path)}: {text}"


_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "expected a text",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "dict_type": "expected fields and their values",
    "model_type": "expected fields and their values",
    "literal_error": "expected {expected}",
    "greater_than": "expected more than {gt:g}",
    "greater_than_equal": "expected {ge:g} or more",
    "less_than": "expected less than {lt:g}",
    "less_than_equal": "expected {le:g} or less",
    "string_too_long": "expected at most {max_length} characters",
    "string_pattern_mismatch": "expected a text that fits {pattern}",
    "too_short": "expected at least {min_length} of them",
}
"""Expected value for each error type of pydantic."""


def _expected(item: ErrorDetails) -> str:
    if item["type"] == _FIELD_MISTAKE:
        return item["msg"]
    words = _EXPECTED.get(item["type"])
    return f"{words.format(**item.get('ctx', {}))}." if words else f"{item['msg'][0].lower()}{item['msg'][1:]}."


def _advice(path: FieldPath, model: type[BaseModel], hidden: tuple[str, ...]) -> str:
    """Suggest a field: one with the same name in another place, or with a similar name."""
    *above, name = path
    parent = [step for step in above if isinstance(step, str)]  # the fields of a list's items have no index
    fields = {field_name(field): field for field in _fields(model) if field[0] not in hidden}
    elsewhere = [text for text, field in fields.items() if field[-1] == name]
    siblings = [str(field[-1]) for field in fields.values() if list(field[:-1]) == parent]
    if elsewhere:
        return f"did you mean `{elsewhere[0]}`?"
    if nearest(str(name), siblings):
        return did_you_mean(str(name), siblings)
    by_last = {str(field[-1]): text for text, field in fields.items()}
    near = nearest(str(name), by_last)
    return f"did you mean `{by_last[near]}`?" if near else f"expected one of {', '.join(siblings)}."


def _fields(model: type[BaseModel], above: FieldPath = ()) -> Iterator[FieldPath]:
    """Paths of all fields."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _fields(kind, (*above, name))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
