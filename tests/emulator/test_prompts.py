"""Dataset rows as what the small language model is asked and answers."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.gcp_emulator.model.prompts import (
    Preference,
    Prompt,
    RowError,
    Turn,
    preference_row,
    supervised_row,
)


class TestRows:
    def test_every_model_turn_is_an_answer_to_what_came_before(self) -> None:
        row = {
            "system_instruction": {"parts": {"text": "Be brief."}},
            "contents": [
                {"role": "USER", "parts": {"text": "a"}},
                {"role": "Model", "parts": [{"text": "b"}, {"text": "c"}]},
                {"parts": [{"text": "d"}]},
                {"role": "model", "parts": [{"text": "e"}]},
            ],
        }
        first, second = supervised_row(row)
        assert first == (Prompt("Be brief.", (Turn("user", "a"),)), "bc")
        assert second[0].turns == (Turn("user", "a"), Turn("model", "bc"), Turn("user", "d"))
        assert second[1] == "e"

    def test_parts_that_are_not_text_count_as_their_json(self) -> None:
        call = {"functionCall": {"name": "find", "args": {"id": 1}}}
        row = {"contents": [{"role": "user", "parts": [call]}, {"role": "model", "parts": [call]}]}
        assert supervised_row(row)[0][1] == '{"functionCall": {"args": {"id": 1}, "name": "find"}}'

    def test_the_completion_with_the_higher_score_is_preferred(self) -> None:
        completions = [
            {"score": 0, "completion": {"role": "model", "parts": [{"text": "rude"}]}},
            {"score": 1, "completion": {"role": "model", "parts": [{"text": "kind"}]}},
        ]
        row = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "completions": completions}
        assert preference_row(row) == Preference(Prompt("", (Turn("user", "hi"),)), "kind", "rude")

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ([], "must be an object"),
            ({}, "Missing required 'contents' field"),
            ({"contents": "text"}, "content must be an object"),
            ({"contents": [{"role": "user", "parts": ["text"]}]}, "part must be an object"),
            ({"contents": [{"role": "user", "parts": [{"text": "a"}]}]}, "no turn with the role 'model'"),
        ],
    )
    def test_a_row_that_cannot_be_learnt_says_why(self, row: object, message: str) -> None:
        with pytest.raises(RowError, match=message):
            supervised_row(row)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda c: (
                st.lists(c)
                | st.dictionaries(
                    st.sampled_from(["contents", "parts", "text", "role", "completions", "score", "completion", "x"]), c
                )
            ),
        )
    )
    @settings(max_examples=300)
    def test_no_row_breaks_the_reader(self, row: object) -> None:
        for read in (supervised_row, preference_row):
            with suppress(RowError):
                read(row)
