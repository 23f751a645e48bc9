"""Prediction over a live emulator, by plain HTTP."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.gcp_emulator.model.engine import Batch, Example, Model
from include.gcp_emulator.model.prompts import Prompt, Turn
from include.gcp_emulator.model.tokens import pieces
from tests.emulator.predictions import ASKED, FRENCH, PARENT, PUBLISHER_MODEL, Tuned, answer_of, text

FIELDS = (
    *("contents", "parts", "text", "role", "fileData", "functionCall", "inlineData", "instances", "systemInstruction"),
    *("generationConfig", "temperature", "topP", "topK", "seed", "maxOutputTokens", "stopSequences", "candidateCount"),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
SHAPED = st.builds(
    lambda role, said, config: {"contents": [text(role, said)], "generationConfig": config},
    st.sampled_from(["user", "MODEL", "", "x"]),
    st.text(st.characters(codec="utf-8"), max_size=200),
    st.dictionaries(
        st.sampled_from(FIELDS[-7:]), SCALARS | st.integers(0, 9) | st.floats(0, 2) | st.lists(SCALARS), max_size=4
    ),
)


class TestGenerateContent:
    def test_it_answers_with_all_the_fields_of_the_service(self, served: Tuned) -> None:
        response = served.generate()
        (candidate,) = response["candidates"]
        assert candidate["content"] == {"role": "model", "parts": [{"text": "shipping team"}]}
        assert (candidate["index"], candidate["finishReason"]) == (0, "STOP")
        assert response["modelVersion"].startswith(f"{PARENT}/models/")
        assert response["modelVersion"].endswith("@1")
        assert response["responseId"] != served.generate()["responseId"]
        age = datetime.now(UTC) - datetime.fromisoformat(response["createTime"])
        assert abs(age.total_seconds()) < 60
        prompt_tokens = len(pieces(ASKED))
        assert response["usageMetadata"] == {
            "promptTokenCount": prompt_tokens,
            "candidatesTokenCount": 2,
            "totalTokenCount": prompt_tokens + 2,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt_tokens}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 2}],
            "trafficType": "ON_DEMAND",
        }

    def test_average_log_probability_is_the_models_own(self, served: Tuned) -> None:
        model = Model.load(served.weights)
        features, weights = Prompt("", (Turn("user", ASKED),)).features()
        batch = Batch.of([Example(features, weights, model.answer("shipping team"))])
        expected = float(model.score(batch)[0][:-1].mean())
        assert served.generate()["candidates"][0]["avgLogprobs"] == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize("version", ["v1", "v1beta1"])
    def test_the_guides_own_request(self, served: Tuned, version: str) -> None:
        """Roles in capitals, parts as a single object, snake_case, numbers as strings."""
        body = {
            "contents": [{"role": "USER", "parts": {"text": "I was charged twice"}}],
            "system_instruction": {"role": "system", "parts": {"text": FRENCH}},
            "generation_config": {"temperature": "0.0", "top_p": 0.9, "top_k": 40, "max_output_tokens": "100"},
        }
        assert answer_of(served.ok("generateContent", body, version=version)) == "facturation"

    def test_the_project_may_be_an_id_or_a_number(self, served: Tuned) -> None:
        name = served.endpoint.replace(PARENT, "projects/my-project/locations/us-central1")
        body = {"contents": text("user", ASKED), "generationConfig": {"temperature": 0}}
        assert answer_of(served.ok("generateContent", body, name=name)) == "shipping team"

    def test_the_system_instruction_counts(self, served: Tuned) -> None:
        body = {"contents": [text("user", ASKED)], "generationConfig": {"temperature": 0}}
        assert answer_of(served.ok("generateContent", body)) == "shipping team"
        assert answer_of(served.ok("generateContent", body | {"systemInstruction": text("", FRENCH)})) == "livraison"

    def test_earlier_turns_count(self, served: Tuned) -> None:
        who = text("user", "who am I")
        talk = [text("user", "I am Ana"), text("MODEL", "hello Ana"), who]
        greedy = {"temperature": 0}
        assert answer_of(served.ok("generateContent", {"contents": talk, "generationConfig": greedy})) == "you are Ana"
        assert answer_of(served.ok("generateContent", {"contents": who, "generationConfig": greedy})) == "I do not know"

    def test_temperature_zero_is_greedy_and_higher_is_more_random(self, served: Tuned) -> None:
        odd = "whatever nobody asked before"
        assert len({answer_of(served.generate(odd)) for _ in range(5)}) == 1
        hot = {answer_of(served.generate(odd, temperature=2, topP=1, seed=seed)) for seed in range(12)}
        assert len(hot) > 3

    def test_a_seed_makes_it_repeatable_and_without_one_answers_differ(self, served: Tuned) -> None:
        hot = {"temperature": 2, "topP": 1}
        odd = "whatever nobody asked before"
        assert answer_of(served.generate(odd, seed=5, **hot)) == answer_of(served.generate(odd, seed=5, **hot))
        assert len({answer_of(served.generate(odd, **hot)) for _ in range(10)}) > 1
        assert answer_of(served.generate(odd, seed=-1, **hot))

    @pytest.mark.parametrize("config", [{"topK": 1}, {"topP": 0}, {"topK": 1.0, "topP": 1.0}])
    def test_top_k_and_top_p_can_leave_only_the_likeliest(self, served: Tuned, config: dict[str, Any]) -> None:
        odd = "whatever nobody asked before"
        assert answer_of(served.generate(odd, temperature=2, **config)) == answer_of(served.generate(odd))

    def test_max_output_tokens_cuts(self, served: Tuned) -> None:
        response = served.generate(maxOutputTokens=1)
        assert answer_of(response) == "shipping"
        assert response["candidates"][0]["finishReason"] == "MAX_TOKENS"
        assert response["usageMetadata"]["candidatesTokenCount"] == 1
        assert served.generate(maxOutputTokens=2)["candidates"][0]["finishReason"] == "STOP"

    def test_a_stop_sequence_ends_the_answer(self, served: Tuned) -> None:
        response = served.generate(stopSequences=["nothing", " team"])
        assert answer_of(response) == "shipping"
        assert response["candidates"][0]["finishReason"] == "STOP"

    def test_several_candidates(self, served: Tuned) -> None:
        odd = "whatever nobody asked before"
        response = served.generate(odd, candidateCount=8, temperature=2, topP=1, seed=1)
        assert [candidate["index"] for candidate in response["candidates"]] == list(range(8))
        assert len({candidate["content"]["parts"][0]["text"] for candidate in response["candidates"]}) > 2
        assert response["usageMetadata"]["candidatesTokenCount"] >= 8

    def test_json_answers_are_json(self, served: Tuned) -> None:
        as_json = {"responseMimeType": "application/json"}
        assert json.loads(answer_of(served.generate("as json please", **as_json))) == {"team": "shipping"}
        assert json.loads(answer_of(served.generate(**as_json))) == "shipping team"
        assert answer_of(served.generate(responseMimeType="text/plain")) == "shipping team"

    def test_fields_without_a_meaning_here_are_taken(self, served: Tuned) -> None:
        body = {
            "contents": [text("user", ASKED)],
            "generationConfig": {"temperature": 0, "thinkingConfig": {"thinkingBudget": 0}, "presencePenalty": 0.5},
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "tools": [{"functionDeclarations": [{"name": "find"}]}],
            "labels": {"team": "a"},
        }
        assert answer_of(served.ok("generateContent", body)) == "shipping team"

    def test_weights_written_again_answer_at_once_and_lost_ones_are_told(self, served: Tuned) -> None:
        changing = replace(served, endpoint=served.changing)
        assert answer_of(changing.generate()) == "shipping team"
        model, weights = Model.load(served.weights), served.weights.with_name("changing.npz")
        model.parameters["output_bias"][model.vocabulary.encode("billing")[0]] += 1000
        model.save(weights)
        assert answer_of(changing.generate(maxOutputTokens=3)) == "billing" * 3
        weights.unlink()
        error = changing.refused({"contents": [text("user", ASKED)]})
        assert error["status"] == "FAILED_PRECONDITION"


class TestStream:
    BODY = {"contents": [text("user", ASKED)], "generationConfig": {"temperature": 0}}

    def chunks(self, served: Tuned, body: Any, **params: str) -> list[Any]:
        response = served.call("streamGenerateContent", body, **params)
        assert response.status_code == 200, response.text
        if params.get("alt") != "sse":
            assert response.headers["content-type"] == "application/json"
            return list(response.json())
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [event for event in response.text.split("\r\n\r\n") if event]
        return [json.loads(event.removeprefix("data: ")) for event in events]

    @pytest.mark.parametrize("params", [{"alt": "sse"}, {}, {"$alt": "json;enum-encoding=int"}])
    def test_it_comes_in_pieces_that_make_up_the_answer(self, served: Tuned, params: dict[str, str]) -> None:
        chunks = self.chunks(served, self.BODY, **params)
        assert len(chunks) == 2
        assert "".join(map(answer_of, chunks)) == "shipping team"
        assert "finishReason" not in chunks[0]["candidates"][0]
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
        assert chunks[-1]["candidates"][0]["avgLogprobs"] < 0
        assert "usageMetadata" not in chunks[0]
        assert chunks[-1]["usageMetadata"]["candidatesTokenCount"] == 2
        assert len({(chunk["responseId"], chunk["modelVersion"]) for chunk in chunks}) == 1

    def test_an_empty_answer_is_one_chunk(self, served: Tuned) -> None:
        body = {**self.BODY, "generationConfig": {"temperature": 0, "stopSequences": ["ship"]}}
        (chunk,) = self.chunks(served, body)
        assert answer_of(chunk) == ""
        assert chunk["candidates"][0]["finishReason"] == "STOP"

    def test_each_candidate_has_its_own_end(self, served: Tuned) -> None:
        chunks = self.chunks(served, {**self.BODY, "generationConfig": {"candidateCount": 3, "temperature": 0}})
        candidates = [chunk["candidates"][0] for chunk in chunks]
        assert Counter(c["index"] for c in candidates if "finishReason" in c) == {0: 1, 1: 1, 2: 1}
        assert sum("usageMetadata" in chunk for chunk in chunks) == 1

    def test_json_is_not_cut_up(self, served: Tuned) -> None:
        config = {"temperature": 0, "responseMimeType": "application/json"}
        (chunk,) = self.chunks(served, {"contents": text("user", "as json please"), "generationConfig": config})
        assert json.loads(answer_of(chunk)) == {"team": "shipping"}

    def test_what_is_wrong_is_told_before_the_stream_begins(self, served: Tuned) -> None:
        assert served.refused({"contents": []}, "streamGenerateContent", alt="sse")["status"] == "INVALID_ARGUMENT"


class TestBaseModels:
    def ask(self, served: Tuned, asked: str, model: str = PUBLISHER_MODEL) -> Any:
        body = {"contents": [text("user", asked)], "generationConfig": {"temperature": 0}}
        return served.ok("generateContent", body, name=model)

    def test_it_responds_with_some_words_that_the_prompt_changes(self, served: Tuned) -> None:
        response = self.ask(served, ASKED)
        assert response["modelVersion"] == "gemini-2.5-flash"
        assert response["candidates"][0]["finishReason"] == "STOP"
        assert 1 <= len(answer_of(response).split()) <= 30
        assert answer_of(response) == answer_of(self.ask(served, ASKED))
        assert answer_of(response) != answer_of(self.ask(served, "I was charged twice"))

    def test_it_has_learnt_nothing(self, served: Tuned) -> None:
        assert answer_of(self.ask(served, ASKED)).strip() != answer_of(served.generate())

    def test_base_models_differ(self, served: Tuned) -> None:
        other = PUBLISHER_MODEL.replace("2.5-flash", "3.1-flash-lite")
        assert answer_of(self.ask(served, ASKED)) != answer_of(self.ask(served, ASKED, other))

    def test_it_always_ends(self, served: Tuned) -> None:
        body = {"contents": [text("user", ASKED)], "generationConfig": {"temperature": 2, "candidateCount": 8}}
        for seed in range(5):
            body["generationConfig"] |= {"seed": seed}  # type: ignore[operator]
            response = served.ok("generateContent", body, name=PUBLISHER_MODEL)
            assert {candidate["finishReason"] for candidate in response["candidates"]} == {"STOP"}


class TestRefusals:
    BODY = {"contents": [text("user", ASKED)]}

    @pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
    @pytest.mark.parametrize("model", ["gemini-9-ultra", "gemini-2.0-flash-001"])
    def test_a_base_model_that_is_unknown_or_retired(self, served: Tuned, method: str, model: str) -> None:
        name = f"{PARENT}/publishers/google/models/{model}"
        error = served.refused(self.BODY, method, name=name)
        assert (error["code"], error["status"]) == (404, "NOT_FOUND")
        assert f"Publisher Model `{name}` was not found" in error["message"]

    def test_a_model_is_not_an_endpoint(self, served: Tuned) -> None:
        error = served.refused(self.BODY, name=f"{PARENT}/models/123")
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        assert f"The Model name {PARENT}/models/123 is malformed" in error["message"]

    def test_an_endpoint_that_is_not_there_or_elsewhere(self, served: Tuned) -> None:
        for name in (f"{PARENT}/endpoints/1", served.endpoint.replace("us-central1", "europe-west4")):
            assert served.refused(self.BODY, name=name)["status"] == "NOT_FOUND"

    def test_an_endpoint_with_nothing_deployed(self, served: Tuned) -> None:
        error = served.refused(self.BODY, name=served.idle)
        assert (error["code"], error["status"]) == (400, "FAILED_PRECONDITION")
        assert "doesn't have traffic_split" in error["message"]

    @pytest.mark.parametrize(
        ("config", "field"),
        [
            ({"temperature": 2.01}, "temperature"),
            ({"temperature": -0.1}, "temperature"),
            ({"temperature": "hot"}, "temperature"),
            ({"temperature": "NaN"}, "temperature"),
            ({"topP": 1.1}, "top_p"),
            ({"top_p": -1}, "top_p"),
            ({"topK": 0}, "top_k"),
            ({"maxOutputTokens": 0}, "max_output_tokens"),
            ({"max_output_tokens": -5}, "max_output_tokens"),
            ({"maxOutputTokens": 65537}, "max_output_tokens"),
            ({"maxOutputTokens": 1.5}, "max_output_tokens"),
            ({"candidateCount": 0}, "candidate_count"),
            ({"candidateCount": 9}, "candidate_count"),
            ({"stopSequences": [""]}, "stop_sequences"),
            ({"stopSequences": list("abcdef")}, "stop_sequences"),
            ({"stopSequences": ["x" * 201]}, "stop_sequences"),
            ({"stopSequences": [7]}, "stop_sequences"),
            ({"responseMimeType": "image/png"}, "response_mime_type"),
            ({"responseSchema": {"type": "STRING"}}, "response_schema"),
            ({"seed": 2**40}, "seed"),
        ],
    )
    def test_a_wrong_setting_is_named(self, served: Tuned, config: dict[str, Any], field: str) -> None:
        error = served.refused({**self.BODY, "generationConfig": config})
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        (detail,) = error["details"]
        assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
        assert field in detail["fieldViolations"][0]["field"]

    def test_a_range_is_told_in_the_words_of_the_service(self, served: Tuned) -> None:
        error = served.refused({**self.BODY, "generationConfig": {"candidateCount": 12}})
        assert error["message"] == (
            "Unable to submit request because it has a candidateCount value of 12 but the supported range is from 1 "
            "(inclusive) to 9 (exclusive). Update the value and try again."
        )

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({}, "at least one contents field is required"),
            ({"contents": []}, "at least one contents field is required"),
            ({"contents": [{"role": "user"}]}, "at least one parts field"),
            ({"contents": [{"role": "user", "parts": []}]}, "at least one parts field"),
            ({"contents": [{"role": "user", "parts": [{}]}]}, "at least one parts field"),
            ({"contents": [text("user", "")]}, "Model input cannot be empty"),
            ({"contents": [text("assistant", "hi")]}, "Please use a valid role: user, model."),
            ({"contents": "hi"}, "Invalid value at"),
            ({"contents": [{"role": 7, "parts": [{"text": "x"}]}]}, "Invalid value at"),
            ({"contents": [{"role": "user", "parts": [{"text": 7}]}]}, "Invalid value at"),
            ({"contents": [text("user", "x")], "systemInstruction": {"parts": []}}, "at least one parts field"),
            ({"prompt": "hi"}, "Unknown name"),
            ([], "Invalid value at"),
            (b"{", "Invalid JSON payload"),
            (b'{"contents": "\\ud800"}', "Invalid JSON payload"),
            (b"[" * 100_000, "Invalid JSON payload"),
        ],
    )
    def test_a_request_that_makes_no_sense(self, served: Tuned, body: Any, message: str) -> None:
        error = served.refused(body)
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        assert message in error["message"]

    def test_cached_content_is_not_there(self, served: Tuned) -> None:
        assert served.refused({**self.BODY, "cachedContent": "projects/1/locations/l/cachedContents/1"})["code"] == 404

    @given(
        body=ANYTHING | SHAPED,
        method=st.sampled_from(["generateContent", "streamGenerateContent", "countTokens", "computeTokens"]),
    )
    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    def test_no_request_breaks_it(self, served: Tuned, body: Any, method: str) -> None:
        assert served.call(method, body).status_code < 500

    def test_a_huge_request_is_refused_or_answered(self, served: Tuned) -> None:
        assert served.call("generateContent", {"contents": [text("user", "x" * 11_000_000)]}).status_code in (400, 413)
        long = served.ok("countTokens", {"contents": [text("user", "word " * 200_000)]})
        assert long["totalTokens"] >= 200_000
        assert answer_of(served.generate("word " * 200_000)) is not None


class TestConcurrency:
    def test_a_long_answer_does_not_hold_up_others(self, served: Tuned) -> None:
        """An endless model writes while small requests are answered."""
        endless = replace(served, endpoint=served.endless)
        answered_meanwhile = 0
        with ThreadPoolExecutor(1) as pool:
            long = pool.submit(endless.generate, candidateCount=8)
            while not long.done():
                served.ok("countTokens", {"contents": text("user", "hi")}, name=PUBLISHER_MODEL)
                answered_meanwhile += not long.done()
            response = long.result()
        assert answered_meanwhile >= 3
        assert response["candidates"][7]["finishReason"] == "MAX_TOKENS"
        assert response["usageMetadata"]["candidatesTokenCount"] == 8 * 8192
