"""Base models: the engine before any training. It writes a few common words that have little to do with the prompt."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Final

import numpy as np

from ..base_models import BASE_MODELS
from ..errors import NotFound
from ..model.engine import Model
from ..model.tokens import END, Vocabulary, pieces

_WORDS: Final = pieces(
    " the of and to in is you that it for on are as with they be at this have from or one had by word but not what all "
    "were we when your can said there use an each which she do how their if will up other about out many then them "
    "these so some her would make like him into time has look two more write go see number no way could people my than "
    "first water been call who its now find long down day did get come made may part"
)
_SPREAD: Final = 0.3
_USUAL_LENGTH: Final = 8
"""Words of an answer; the end becomes likely there."""


def base_engine(model: str, name: str) -> Model:
    """The engine of a base model.

    :param model: its id, e.g. `gemini-2.5-flash`
    :param name: its resource name, for the message
    :raises NotFound: it does not exist, or is retired
    """
    if model not in BASE_MODELS or BASE_MODELS[model].retired:
        raise NotFound(
            f"Publisher Model `{name}` was not found or your project does not have access to it. "
            "Please ensure you are using a valid model version."
        )
    return _untrained(model)


@cache
def _untrained(model: str) -> Model:
    """Random weights of the smallest size: always the same for a model."""
    rng = np.random.default_rng(zlib.crc32(model.encode()))
    engine = Model.empty().grown(Vocabulary(_WORDS), 1, rng)
    parameters = engine.parameters
    parameters["prompt"] += _SPREAD * rng.standard_normal(parameters["prompt"].shape, np.float32)
    parameters["output_bias"][: len(engine.vocabulary) - len(_WORDS)] = -10  # bytes are no words
    _end_after_some_words(parameters)
    return engine


def _end_after_some_words(parameters: dict[str, np.ndarray]) -> None:
    """Let the first unit follow the position alone, and only the end follow this unit."""
    for table in ("prompt", "previous", "before"):
        parameters[table][:, 0] = 0
    parameters["position"][:, 0] = (np.arange(len(parameters["position"])) - _USUAL_LENGTH) / 2
    parameters["output"][0] = 0
    parameters["output"][0, END] = 20
    parameters["output_bias"][END] = 0
