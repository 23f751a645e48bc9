"""Smoke-test cases: prompts with the responses that a tuned model must give. Pure: `predict` sends them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Annotated, Any, Final, Literal

import msgspec

from vertex_tuning.datasets.rows import Content, Row
from vertex_tuning.evaluation.expectations import Expectations
from vertex_tuning.evaluation.generation_settings import GenerationSettings
from vertex_tuning.evaluation.mistakes import explain
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.results import AnswerSet, SmokeAnswer
from vertex_tuning.text.plain_text import NAME_SHOWN, plain

NAME_LENGTH: Final = 60
"""Characters of the prompt that become the name of a case without a name."""

MAX_CASES: Final = 1000
"""Most cases: each is a request to the endpoint of every model."""

ANSWERS_SHOWN: Final = 20
"""Most answers that are kept in XCom; the file in the run's folder has all."""


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A turn of a conversation.

    :param text: short form of a single text part
    :param parts: the service's form, for files
    """

    role: Literal["user", "model"] = "user"
    text: str = ""
    parts: list[dict[str, Any]] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        if bool(self.text) == bool(self.parts):
            raise ValueError("expected either text or parts")

    def content(self) -> dict[str, Any]:
        return {"role": self.role, "parts": self.parts or [{"text": self.text}]}

    def words(self) -> str:
        return self.text or "".join(str(part.get("text") or "") for part in self.parts)


class SmokeCase(Expectations, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt and the expected response.

    :param name: unique among the cases; if not set, it is made from the prompt
    :param prompt: the user's last turn; may be missing if `turns` ends with it
    :param turns: earlier turns, each `{role: user or model, text: …}`
    :param system_instruction: sent with the prompt; should be the system instruction of the training data
    :param tools: function declarations, as in the training data
    :param generation_config: sampling settings of this case, e.g. `{"temperature": 0.2, "top_p": 0.9}`; the others are
        those of the evaluation
    """

    name: Annotated[str, msgspec.Meta(max_length=NAME_SHOWN)] = ""
    prompt: str = ""
    turns: list[Turn] = msgspec.field(default_factory=list)
    system_instruction: str | None = None
    tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    generation_config: GenerationSettings = msgspec.field(default_factory=GenerationSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prompt and not (self.turns and self.turns[-1].role == "user"):
            raise ValueError("prompt: found none, expected a prompt, or turns that end with a turn of the user")

    @property
    def question(self) -> str:
        """The user's last turn."""
        return self.prompt or self.turns[-1].words()

    def contents(self) -> list[dict[str, Any]]:
        """The request's turns."""
        last = [Turn(text=self.prompt)] if self.prompt else []
        return [turn.content() for turn in [*self.turns, *last]]

    def under(self, settings: GenerationSettings) -> SmokeCase:
        """The case, with these settings where it does not have its own."""
        return msgspec.structs.replace(self, generation_config=self.generation_config.over(settings))

    def config(self) -> dict[str, Any]:
        """The request's settings."""
        settings = {
            **msgspec.to_builtins(self.generation_config),
            "system_instruction": self.system_instruction or None,
            "tools": self.tools or None,
        }
        return {name: value for name, value in settings.items() if value is not None}


def judge_prompt(case: SmokeCase) -> str:
    """All that a model receives for a case, as a judge reads it: system instruction and turns."""
    turns = [*case.turns, *([Turn(text=case.prompt)] if case.prompt else [])]
    texts = [f"{turn.role}: {turn.words()}" for turn in turns] if len(turns) > 1 else [case.question]
    return "\n\n".join([*([case.system_instruction] if case.system_instruction else []), *texts])


def parse_cases(cases: list[dict[str, Any]]) -> list[SmokeCase]:
    """Check cases and give each a unique name, in plain text.

    :raises ConfigurationError: names the case and the field, the value found and what is expected
    """
    if isinstance(cases, list) and (mistake := too_many("smoke_test.cases", cases, MAX_CASES)):
        raise ConfigurationError(mistake)
    try:
        parsed = msgspec.convert(cases, list[SmokeCase])
    except msgspec.ValidationError as error:
        raise ConfigurationError(explain(error, "smoke_test.cases", cases)) from error
    parsed = [msgspec.structs.replace(case, name=plain(case.name, NAME_SHOWN)) for case in parsed]
    names = Counter(case.name for case in parsed if case.name)
    if repeated := [name for name, times in names.items() if times > 1]:
        raise ConfigurationError(f"smoke_test.cases: found the name {repeated[0]!r} twice, expected unique names.")
    return list(_named(parsed, set(names)))


def too_many(field: str, items: Sequence[Any], most: int) -> str:
    """Error message for a list that is too long to check; empty if it is not."""
    return f"{field}: found {len(items)} of them, expected at most {most}." if len(items) > most else ""


def sample_cases(rows: Iterable[Row]) -> list[SmokeCase]:
    """Examples of a dataset as cases. Examples whose response has no text are left out."""
    return [case_of(row, f"sample {number}") for number, row in enumerate(filter(_is_comparable, rows), 1)]


def case_of(row: Row, name: str = "") -> SmokeCase:
    """An example of a dataset as a case that expects the example's response."""
    *before, answer = row.contents
    return SmokeCase(
        name=name,
        equals=_text(answer),
        system_instruction=_text(row.system_instruction) if row.system_instruction else None,
        tools=row.tools or [],
        generation_config=GenerationSettings(media_resolution=(row.generation_config or {}).get("mediaResolution")),
        turns=[Turn(role=_role(content), parts=_parts(content)) for content in before],
    )


def in_full(answers: Sequence[SmokeAnswer]) -> AnswerSet:
    """All answers and the number that passed, for a file."""
    return AnswerSet(sum(not answer.problem for answer in answers), len(answers), list(answers))


def summarize(answers: Sequence[SmokeAnswer]) -> AnswerSet:
    """A summary for XCom: at most `ANSWERS_SHOWN` answers, failed ones first, with shortened texts."""
    failed_first = sorted(range(len(answers)), key=lambda index: not answers[index].problem)
    shown = [answers[index].cut() for index in sorted(failed_first[:ANSWERS_SHOWN])]
    return msgspec.structs.replace(in_full(answers), answers=shown)


def values_of(cases: Sequence[SmokeAnswer], sampled: Sequence[SmokeAnswer]) -> dict[str, float]:
    """Values for gates and comparisons. Values without a prediction are left out."""
    latencies = sorted(answer.latency for answer in [*cases, *sampled])
    shares = {"smoke.pass_share": pass_share(cases), "sample.exact_share": pass_share(sampled)}
    # The nearest rank is a latency that was measured.
    p95 = {"smoke.latency_p95": latencies[math.ceil(0.95 * len(latencies)) - 1]} if latencies else {}
    return {name: value for name, value in shares.items() if value is not None} | p95


def pass_share(answers: Sequence[SmokeAnswer]) -> float | None:
    """Share of the answers that passed; None without answers."""
    return sum(not answer.problem for answer in answers) / len(answers) if answers else None


def _named(cases: Iterable[SmokeCase], taken: set[str]) -> Iterator[SmokeCase]:
    """Give each case without a name a unique one.

    :param taken: names of the other cases
    """
    names: dict[str, Iterator[str]] = {}
    for case in cases:
        if case.name:
            yield case
            continue
        base = plain(" ".join(case.question.split()), NAME_LENGTH) or "case"
        numbered = names.setdefault(base, chain([base], (f"{base} ({n})" for n in count(2))))
        name = next(name for name in numbered if name not in taken)
        taken.add(name)
        yield msgspec.structs.replace(case, name=name)


def _is_comparable(row: Row) -> bool:
    *before, answer = row.contents or [Content()]
    has_prompt = bool(before) and _role(before[-1]) == "user" and all(content.parts for content in before)
    return has_prompt and bool(_text(answer).strip())


def _role(content: Content) -> Literal["user", "model"]:
    return "model" if (content.role or "").lower() == "model" else "user"


def _parts(content: Content) -> list[dict[str, Any]]:
    parts = msgspec.to_builtins(content.parts)
    return [{key: value for key, value in part.items() if value is not None} for part in parts]


def _text(content: Content) -> str:
    return "".join(part.text or "" for part in content.parts)
