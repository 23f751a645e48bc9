"""The record of a run: the facts that lists, charts and messages about several runs need. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from vertex_tuning.report.content import RunOutcome
from vertex_tuning.results import Gain
from vertex_tuning.text.plain_text import plain

Kind = Literal["retraining", "rollback"]

SENTENCES_KEPT: Final = 10
"""Most reasons, and most warnings, of a record; the report has all."""

TITLE_KEPT: Final = 128
TEXT_KEPT: Final = 500
NAME_KEPT: Final = 512
"""Most characters of the name of a resource, or of an id."""
URL_KEPT: Final = 2000

Title = Annotated[str, msgspec.Meta(max_length=TITLE_KEPT)]
Sentence = Annotated[str, msgspec.Meta(max_length=TEXT_KEPT)]
Sentences = Annotated[list[Sentence], msgspec.Meta(max_length=SENTENCES_KEPT)]
Name = Annotated[str, msgspec.Meta(max_length=NAME_KEPT)]
Url = Annotated[str, msgspec.Meta(max_length=URL_KEPT, pattern=r"^(?:https?://\S+)?\Z")]
ObjectUri = Annotated[str, msgspec.Meta(max_length=URL_KEPT, pattern=r"^(?:gs://.+)?\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ModelScore(msgspec.Struct, frozen=True):
    """The value of a model by which the promotion rule decides.

    :param lower: lower end of the 95 % confidence interval; None for a value that is not a mean over a sample
    :param upper: upper end of this interval
    :param examples: size of the sample
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    examples: Count | None = None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a run that has ended. Missing texts are empty; missing numbers are None.

    All texts are short and plain: one line each, without control characters. URLs begin with `http`.

    :param version: version of these fields; it increases when a field changes its meaning
    :param key: name of the record, the same as of the run's folder
    :param started: start of the run in RFC 3339 form; empty if it is not known
    :param ended: time of the record in RFC 3339 form, at the end of the run
    :param title: the outcome in words
    :param sentence: effect on the model in use
    :param reasons: reasons, one line each
    :param warnings: e.g. that Google retires the base model
    :param over_budget: whether the run ended because the budget of 30 days had no room for its job
    :param candidates: number of models among which the run chose
    :param model: `projects/…/models/ID@VERSION` of the new model; after a rollback, of the model in use again
    :param compared_model: the model in use before the run; empty for a first model
    :param value: name of the value by which the rule decides, e.g. `sample.exact_share`
    :param score: this value of the new model
    :param champion_score: this value of the model in use before the run
    :param baseline_score: this value of the base model
    :param gain: gain over the model in use; None if the rule compares bare numbers
    :param training_loss: last training loss
    :param validation_loss: last validation loss
    :param overfitting: whether the model over-fits
    :param cost: cost of the tuning job: by the tokens that the service counted, or else the estimate
    :param is_estimate: whether cost and tokens are an estimate
    :param tokens: training tokens, i.e. tokens of the dataset times epochs
    :param examples: number of training examples
    :param job_seconds: time from the start of the tuning job to its end
    :param metrics_uri: the file with all points of the metrics
    """

    version: int = 1
    tuning: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]
    key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
    kind: Kind
    dag_id: Name
    run_id: Name
    started: Title = ""
    ended: Title
    outcome: RunOutcome
    title: Title
    sentence: Sentence = ""
    reasons: Sentences = []
    warnings: Sentences = []
    over_budget: bool = False
    candidates: Count = 1
    model: Name = ""
    endpoint: Name = ""
    base_model: Name = ""
    compared_model: Name = ""
    job: Name = ""
    job_state: Title = ""
    experiment: Name = ""
    value: Title = ""
    score: ModelScore | None = None
    champion_score: ModelScore | None = None
    baseline_score: ModelScore | None = None
    gain: Gain | None = None
    training_loss: float | None = None
    validation_loss: float | None = None
    overfitting: bool | None = None
    cost: float | None = None
    currency: Title = ""
    is_estimate: bool = False
    tokens: Count | None = None
    dataset_hash: Title = ""
    examples: Count | None = None
    epochs: Count | None = None
    learning_rate_multiplier: float | None = None
    adapter_size: Count | None = None
    job_seconds: float | None = None
    report_uri: ObjectUri = ""
    report_url: Url = ""
    run_url: Url = ""
    metrics_uri: ObjectUri = ""

    def __post_init__(self) -> None:
        """Refuse texts that are not plain, and times without a time zone: a record may come from anywhere.

        :raises ValueError: names the field
        """
        for field, text in self._texts():
            if not (text.isascii() and text.isprintable()) and plain(text, URL_KEPT) != text:
                raise ValueError(f"{field}: found characters that are not shown, expected a plain text.")
        for field in ("started", "ended"):
            if (text := getattr(self, field)) and not _is_time(text):
                raise ValueError(f"{field}: found {text[:40]!r}, expected a time with a time zone.")

    def _texts(self) -> Iterator[tuple[str, str]]:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    yield field, text

    @property
    def is_promoted(self) -> bool:
        """Whether the run put its new model into use."""
        return self.outcome in ("promoted", "first")

    @property
    def outcome_title(self) -> str:
        """The outcome in words, also of a rollback that failed."""
        is_plain = self.kind == "retraining" or self.outcome == "rolled_back"
        return self.title if is_plain else f"Rollback: {self.title.lower()}"

    @property
    def model_version(self) -> str:
        """The model without its project and location: `ID@VERSION`."""
        return self.model.rpartition("/")[2]

    @property
    def ended_at(self) -> datetime:
        return datetime.fromisoformat(self.ended)

    @property
    def seconds(self) -> float | None:
        """Time from the start of the run to its end; None if the start is not known."""
        started = datetime.fromisoformat(self.started) if self.started else None
        return (self.ended_at - started).total_seconds() if started else None

    def tells_the_same(self, other: RunRecord) -> bool:
        """Whether another record of the run says the same, whenever it was written."""
        undated = msgspec.structs.replace(other, started=self.started, ended=self.ended)
        return self == undated


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
