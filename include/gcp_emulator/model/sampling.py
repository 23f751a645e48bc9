"""Writing an answer: choosing the model's next token until the end, a stop sequence or the limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .engine import Floats, Model
from .prompts import Prompt
from .tokens import END, Speller

FinishReason = Literal["STOP", "MAX_TOKENS"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, in the order of the tuning guide.

    The `top_k` likeliest tokens are kept, and of them the smallest set that reaches the probability `top_p`. From this
    set a token is drawn, with `temperature`.

    :param temperature: 0 takes the likeliest token. The default stands for the service's default of 1.0: large models
        are far surer of a short answer than this small one, so at 1.0 their answers hardly vary
    :param max_tokens: most tokens to write
    :param stop: texts that end the answer; they are not part of it
    """

    temperature: float = 0.2
    top_k: int = 64
    top_p: float = 0.95
    max_tokens: int = 8192
    stop: tuple[str, ...] = ()


@dataclass
class Answer:
    """The answer so far.

    :param log_probs: the model's log-probability of each token, before the settings apply
    :param finish: why the answer ended; None before its end
    """

    text: str = ""
    log_probs: list[float] = field(default_factory=list)
    finish: FinishReason | None = None

    @property
    def average_log_prob(self) -> float:
        return sum(self.log_probs) / max(len(self.log_probs), 1)


def choose(log_probs: Floats, sampling: Sampling, rng: np.random.Generator) -> int:
    """The next token, given every token's log-probability."""
    if sampling.temperature == 0:
        return int(log_probs.argmax())
    ranked = np.argsort(-log_probs, kind="stable")[: sampling.top_k]
    reached = np.exp(log_probs[ranked], dtype=np.float64).cumsum()
    kept = ranked[: np.searchsorted(reached, sampling.top_p - 1e-6) + 1]
    with np.errstate(over="ignore"):
        chances = np.exp((log_probs[kept] - log_probs[kept[0]]).astype(np.float64) / sampling.temperature)
    return int(kept[np.searchsorted(chances.cumsum(), rng.random() * chances.sum(), side="right")])


def _tokens(model: Model, prompt: Prompt, sampling: Sampling, rng: np.random.Generator) -> Iterator[tuple[int, float]]:
    """Tokens and their log-probabilities, without the end."""
    state = model.read(*prompt.features())
    previous = before = END
    position = 0
    while True:
        log_probs = model.next_log_probs(state, previous, before, position)
        token = choose(log_probs, sampling, rng)
        if token == END:
            return
        yield token, float(log_probs[token])
        previous, before, position = token, previous, position + 1


def write(model: Model, prompt: Prompt, sampling: Sampling, rng: np.random.Generator, answer: Answer) -> Iterator[str]:
    """Write into `answer` and yield its text piece by piece. Text that may become a stop sequence is held back."""
    sent = 0
    for held in _growth(model, prompt, sampling, rng, answer):
        safe = max(sent, len(answer.text) - held)
        if safe > sent:
            yield answer.text[sent:safe]
            sent = safe


def _growth(
    model: Model, prompt: Prompt, sampling: Sampling, rng: np.random.Generator, answer: Answer
) -> Iterator[int]:
    """Extend the answer to its end; yields the number of its last characters that are not yet certain."""
    speller = Speller(model.vocabulary)
    for token, log_prob in _tokens(model, prompt, sampling, rng):
        if len(answer.log_probs) == sampling.max_tokens:
            answer.finish = "MAX_TOKENS"
            break
        answer.log_probs.append(log_prob)
        if _add(answer, speller.add(token), sampling.stop):
            break
        yield _uncertain(answer.text, sampling.stop)
    if answer.finish is None:
        _add(answer, speller.finish(), sampling.stop)
        answer.finish = "STOP"
    yield 0


def _add(answer: Answer, text: str, stop: tuple[str, ...]) -> bool:
    """Extend the answer, and end it at the first stop sequence; whether one was found."""
    unseen = max(0, len(answer.text) - _longest(stop))
    answer.text += text
    places = [place for sequence in stop if (place := answer.text.find(sequence, unseen)) >= 0]
    if places:
        answer.text, answer.finish = answer.text[: min(places)], "STOP"
    return bool(places)


def _longest(stop: tuple[str, ...]) -> int:
    return max(map(len, stop), default=0)


def _uncertain(text: str, stop: tuple[str, ...]) -> int:
    """Length of the longest end of the text with which a stop sequence begins."""
    lengths = range(min(_longest(stop), len(text)), 0, -1)
    return next((length for length in lengths if any(s.startswith(text[-length:]) for s in stop)), 0)
