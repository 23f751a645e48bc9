"""Prediction over a live emulator: by plain HTTP, google-genai and the GAPIC clients."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from include.gcp_emulator.base_models import BASE_MODELS
from include.gcp_emulator.model.engine import Batch, Example, Model
from include.gcp_emulator.model.prompts import Prompt, Turn
from include.gcp_emulator.model.tokens import END, pieces
from include.gcp_emulator.model.training import Checkpoint, TrainRequest, train
from include.gcp_emulator.names import canonical
from include.gcp_emulator.registry.service import RegistryService
from include.gcp_emulator.state import Store
from tests.emulator_fixture import running_emulator

PARENT = canonical("projects/my-project/locations/us-central1")
PUBLISHER_MODEL = "projects/my-project/locations/us-central1/publishers/google/models/gemini-2.5-flash"
FRENCH = "Answer in French."
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
ASKED = "Where is my parcel?"


def text(role: str, *parts: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": part} for part in parts]}


def dataset() -> list[dict[str, Any]]:
    """Answers depend on the question, the system instruction and the turns before."""
    rows: list[dict[str, Any]] = []
    for number in range(40):
        for question, english, french in (
            (ASKED, "shipping team", "livraison"),
            ("I was charged twice", "billing team", "facturation"),
        ):
            asked = text("user", f"{question} Case {number}" if number else question)
            rows.append({"contents": [asked, text("model", english)]})
            system: dict[str, Any] = {"systemInstruction": {"parts": [{"text": FRENCH}]}}
            rows.append(system | {"contents": [asked, text("model", french)]})
        talk = [
            text("user", "I am Ana"),
            text("model", "hello Ana"),
            text("user", "who am I"),
            text("model", "you are Ana"),
        ]
        rows.append({"contents": talk})
        rows.append({"contents": [text("user", "who am I"), text("model", "I do not know")]})
        rows.append({"contents": [text("user", "as json please"), text("model", '{"team": "shipping"}')]})
    return rows


@dataclass(frozen=True)
class Tuned:
    """A live emulator that serves a model.

    :param weights: where the model lies
    :param changing: an endpoint whose weights, in `changing.npz` beside them, are a test's to change
    :param endless: an endpoint whose model never ends
    :param idle: an endpoint with nothing deployed
    """

    url: str
    endpoint: str
    weights: Path
    changing: str
    endless: str
    idle: str

    def call(self, method: str, body: Any, *, name: str = "", version: str = "v1", **params: str) -> httpx.Response:
        path = f"{self.url}/{version}/{name or self.endpoint}:{method}"
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(path, content=content, params=params, timeout=60)

    def ok(self, method: str, body: Any, **options: str) -> Any:
        response = self.call(method, body, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def generate(self, asked: str = ASKED, **config: Any) -> Any:
        """The response to one user turn; greedy if not told otherwise."""
        body = {"contents": [text("user", asked)], "generationConfig": {"temperature": 0} | config}
        return self.ok("generateContent", body)

    def refused(self, body: Any, method: str = "generateContent", **options: str) -> Any:
        response = self.call(method, body, **options)
        assert 400 <= response.status_code < 500, response.text
        error = response.json()["error"]
        assert error["code"] == response.status_code
        return error


def answer_of(response: Any) -> str:
    return str(response["candidates"][0]["content"]["parts"][0]["text"])


def trained(folder: Path) -> Path:
    data = folder / "training.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in dataset()))
    request = TrainRequest(
        "job", data, None, "supervised", 8, 1.0, 4, 0.1, None, folder, last_checkpoint_only=True, step_seconds=0, seed=1
    )
    (checkpoint,) = (event for event in train(request) if isinstance(event, Checkpoint))
    return checkpoint.weights


def deployed(registry: RegistryService, weights: Path) -> str:
    """An endpoint that serves the weights."""
    base = BASE_MODELS["gemini-2.5-flash"]
    version = registry.publish_model(PARENT, "tuned", base, {})
    registry.add_checkpoint(version, {"checkpointId": "1", "epoch": "8", "step": "1"}, weights)
    return registry.create_endpoint(version, base)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    folder = tmp_path_factory.mktemp("prediction")
    weights = trained(folder)
    model = Model.load(weights)
    model.save(folder / "changing.npz")
    model.parameters["output_bias"][END] = -1e9
    model.save(folder / "endless.npz")
    store = Store(folder / "data")
    registry = RegistryService(store)
    files = (weights, folder / "changing.npz", folder / "endless.npz", weights)
    endpoint, changing, endless, idle = (deployed(registry, file) for file in files)
    registry.undeploy(idle, registry.endpoint(idle)["deployedModels"][0]["id"])
    store.close()
    with running_emulator(folder / "data") as url:
        yield Tuned(url, endpoint, weights, changing, endless, idle)


class TestGenerateContent:
    def test_it_answers_with_all_the_fields_of_the_service(self, tuned: Tuned) -> None:
        response = tuned.generate()
        (candidate,) = response["candidates"]
        assert candidate["content"] == {"role": "model", "parts": [{"text": "shipping team"}]}
        assert (candidate["index"], candidate["finishReason"]) == (0, "STOP")
        assert response["modelVersion"].startswith(f"{PARENT}/models/")
        assert response["modelVersion"].endswith("@1")
        assert response["responseId"] != tuned.generate()["responseId"]
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

    def test_average_log_probability_is_the_models_own(self, tuned: Tuned) -> None:
        model = Model.load(tuned.weights)
        features, weights = Prompt("", (Turn("user", ASKED),)).features()
        batch = Batch.of([Example(features, weights, model.answer("shipping team"))])
        expected = float(model.score(batch)[0][:-1].mean())
        assert tuned.generate()["candidates"][0]["avgLogprobs"] == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize("version", ["v1", "v1beta1"])
    def test_the_guides_own_request(self, tuned: Tuned, version: str) -> None:
        """Roles in capitals, parts as a single object, snake_case, numbers as strings."""
        body = {
            "contents": [{"role": "USER", "parts": {"text": "I was charged twice"}}],
            "system_instruction": {"role": "system", "parts": {"text": FRENCH}},
            "generation_config": {"temperature": "0.0", "top_p": 0.9, "top_k": 40, "max_output_tokens": "100"},
        }
        assert answer_of(tuned.ok("generateContent", body, version=version)) == "facturation"

    def test_the_project_may_be_an_id_or_a_number(self, tuned: Tuned) -> None:
        name = tuned.endpoint.replace(PARENT, "projects/my-project/locations/us-central1")
        body = {"contents": text("user", ASKED), "generationConfig": {"temperature": 0}}
        assert answer_of(tuned.ok("generateContent", body, name=name)) == "shipping team"

    def test_the_system_instruction_counts(self, tuned: Tuned) -> None:
        body = {"contents": [text("user", ASKED)], "generationConfig": {"temperature": 0}}
        assert answer_of(tuned.ok("generateContent", body)) == "shipping team"
        assert answer_of(tuned.ok("generateContent", body | {"systemInstruction": text("", FRENCH)})) == "livraison"

    def test_earlier_turns_count(self, tuned: Tuned) -> None:
        who = text("user", "who am I")
        talk = [text("user", "I am Ana"), text("MODEL", "hello Ana"), who]
        greedy = {"temperature": 0}
        assert answer_of(tuned.ok("generateContent", {"contents": talk, "generationConfig": greedy})) == "you are Ana"
        assert answer_of(tuned.ok("generateContent", {"contents": who, "generationConfig": greedy})) == "I do not know"

    def test_temperature_zero_is_greedy_and_higher_is_more_random(self, tuned: Tuned) -> None:
        odd = "whatever nobody asked before"
        assert len({answer_of(tuned.generate(odd)) for _ in range(5)}) == 1
        hot = {answer_of(tuned.generate(odd, temperature=2, topP=1, seed=seed)) for seed in range(12)}
        assert len(hot) > 3

    def test_a_seed_makes_it_repeatable_and_without_one_answers_differ(self, tuned: Tuned) -> None:
        hot = {"temperature": 2, "topP": 1}
        odd = "whatever nobody asked before"
        assert answer_of(tuned.generate(odd, seed=5, **hot)) == answer_of(tuned.generate(odd, seed=5, **hot))
        assert len({answer_of(tuned.generate(odd, **hot)) for _ in range(10)}) > 1
        assert answer_of(tuned.generate(odd, seed=-1, **hot))

    @pytest.mark.parametrize("config", [{"topK": 1}, {"topP": 0}, {"topK": 1.0, "topP": 1.0}])
    def test_top_k_and_top_p_can_leave_only_the_likeliest(self, tuned: Tuned, config: dict[str, Any]) -> None:
        odd = "whatever nobody asked before"
        assert answer_of(tuned.generate(odd, temperature=2, **config)) == answer_of(tuned.generate(odd))

    def test_max_output_tokens_cuts(self, tuned: Tuned) -> None:
        response = tuned.generate(maxOutputTokens=1)
        assert answer_of(response) == "shipping"
        assert response["candidates"][0]["finishReason"] == "MAX_TOKENS"
        assert response["usageMetadata"]["candidatesTokenCount"] == 1
        assert tuned.generate(maxOutputTokens=2)["candidates"][0]["finishReason"] == "STOP"

    def test_a_stop_sequence_ends_the_answer(self, tuned: Tuned) -> None:
        response = tuned.generate(stopSequences=["nothing", " team"])
        assert answer_of(response) == "shipping"
        assert response["candidates"][0]["finishReason"] == "STOP"

    def test_several_candidates(self, tuned: Tuned) -> None:
        odd = "whatever nobody asked before"
        response = tuned.generate(odd, candidateCount=8, temperature=2, topP=1, seed=1)
        assert [candidate["index"] for candidate in response["candidates"]] == list(range(8))
        assert len({candidate["content"]["parts"][0]["text"] for candidate in response["candidates"]}) > 2
        assert response["usageMetadata"]["candidatesTokenCount"] >= 8

    def test_json_answers_are_json(self, tuned: Tuned) -> None:
        as_json = {"responseMimeType": "application/json"}
        assert json.loads(answer_of(tuned.generate("as json please", **as_json))) == {"team": "shipping"}
        assert json.loads(answer_of(tuned.generate(**as_json))) == "shipping team"
        assert answer_of(tuned.generate(responseMimeType="text/plain")) == "shipping team"

    def test_fields_without_a_meaning_here_are_taken(self, tuned: Tuned) -> None:
        body = {
            "contents": [text("user", ASKED)],
            "generationConfig": {"temperature": 0, "thinkingConfig": {"thinkingBudget": 0}, "presencePenalty": 0.5},
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "tools": [{"functionDeclarations": [{"name": "find"}]}],
            "labels": {"team": "a"},
        }
        assert answer_of(tuned.ok("generateContent", body)) == "shipping team"

    def test_weights_written_anew_answer_at_once_and_lost_ones_are_told(self, tuned: Tuned) -> None:
        changing = replace(tuned, endpoint=tuned.changing)
        assert answer_of(changing.generate()) == "shipping team"
        model, weights = Model.load(tuned.weights), tuned.weights.with_name("changing.npz")
        model.parameters["output_bias"][model.vocabulary.encode("billing")[0]] += 1000
        model.save(weights)
        assert answer_of(changing.generate(maxOutputTokens=3)) == "billing" * 3
        weights.unlink()
        error = changing.refused({"contents": [text("user", ASKED)]})
        assert error["status"] == "FAILED_PRECONDITION"


class TestStream:
    BODY = {"contents": [text("user", ASKED)], "generationConfig": {"temperature": 0}}

    def chunks(self, tuned: Tuned, body: Any, **params: str) -> list[Any]:
        response = tuned.call("streamGenerateContent", body, **params)
        assert response.status_code == 200, response.text
        if params.get("alt") != "sse":
            assert response.headers["content-type"] == "application/json"
            return list(response.json())
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [event for event in response.text.split("\r\n\r\n") if event]
        return [json.loads(event.removeprefix("data: ")) for event in events]

    @pytest.mark.parametrize("params", [{"alt": "sse"}, {}, {"$alt": "json;enum-encoding=int"}])
    def test_it_comes_in_pieces_that_make_up_the_answer(self, tuned: Tuned, params: dict[str, str]) -> None:
        chunks = self.chunks(tuned, self.BODY, **params)
        assert len(chunks) == 2
        assert "".join(map(answer_of, chunks)) == "shipping team"
        assert "finishReason" not in chunks[0]["candidates"][0]
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
        assert chunks[-1]["candidates"][0]["avgLogprobs"] < 0
        assert "usageMetadata" not in chunks[0]
        assert chunks[-1]["usageMetadata"]["candidatesTokenCount"] == 2
        assert len({(chunk["responseId"], chunk["modelVersion"]) for chunk in chunks}) == 1

    def test_an_empty_answer_is_one_chunk(self, tuned: Tuned) -> None:
        body = {**self.BODY, "generationConfig": {"temperature": 0, "stopSequences": ["ship"]}}
        (chunk,) = self.chunks(tuned, body)
        assert answer_of(chunk) == ""
        assert chunk["candidates"][0]["finishReason"] == "STOP"

    def test_each_candidate_has_its_own_end(self, tuned: Tuned) -> None:
        chunks = self.chunks(tuned, {**self.BODY, "generationConfig": {"candidateCount": 3, "temperature": 0}})
        candidates = [chunk["candidates"][0] for chunk in chunks]
        assert Counter(c["index"] for c in candidates if "finishReason" in c) == {0: 1, 1: 1, 2: 1}
        assert sum("usageMetadata" in chunk for chunk in chunks) == 1

    def test_json_is_not_cut_up(self, tuned: Tuned) -> None:
        config = {"temperature": 0, "responseMimeType": "application/json"}
        (chunk,) = self.chunks(tuned, {"contents": text("user", "as json please"), "generationConfig": config})
        assert json.loads(answer_of(chunk)) == {"team": "shipping"}

    def test_what_is_wrong_is_told_before_the_stream_begins(self, tuned: Tuned) -> None:
        assert tuned.refused({"contents": []}, "streamGenerateContent", alt="sse")["status"] == "INVALID_ARGUMENT"


class TestTokens:
    BODY = {"contents": [text("user", "Bonjour, où est mon colis?")], "systemInstruction": text("", "Be brief.")}

    @pytest.mark.parametrize("version", ["v1", "v1beta1"])
    def test_they_can_be_counted_for_endpoints_and_base_models(self, tuned: Tuned, version: str) -> None:
        expected = len(pieces("Bonjour, où est mon colis?")) + len(pieces("Be brief."))
        for name in (tuned.endpoint, PUBLISHER_MODEL):
            counted = tuned.ok("countTokens", self.BODY, name=name, version=version)
            assert counted["totalTokens"] == expected
            assert counted["totalBillableCharacters"] == len("Bonjour,oùestmoncolis?Bebrief.")
            assert counted["promptTokensDetails"] == [{"modality": "TEXT", "tokenCount": expected}]

    def test_a_count_is_what_a_prediction_is_charged(self, tuned: Tuned) -> None:
        counted = tuned.ok("countTokens", self.BODY)["totalTokens"]
        assert tuned.ok("generateContent", self.BODY)["usageMetadata"]["promptTokenCount"] == counted

    def test_files_count_by_their_kind(self, tuned: Tuned) -> None:
        files = [{"fileData": {"mimeType": kind, "fileUri": "gs://b/o"}} for kind in ("image/png", "video/mp4")]
        body = {"contents": [{"role": "user", "parts": [{"text": "look"}, *files]}]}
        details = tuned.ok("countTokens", body)["promptTokensDetails"]
        assert {item["modality"] for item in details} == {"TEXT", "IMAGE", "VIDEO"}

    def test_the_older_form_with_instances(self, tuned: Tuned) -> None:
        counted = tuned.ok("countTokens", {"instances": ["two words", {"prompt": "x"}]}, name=PUBLISHER_MODEL)
        assert counted["totalTokens"] > 3

    def test_computed_tokens_are_the_text_again(self, tuned: Tuned) -> None:
        for name in (tuned.endpoint, PUBLISHER_MODEL):
            (info,) = tuned.ok("computeTokens", {"contents": self.BODY["contents"]}, name=name)["tokensInfo"]
            assert info["role"] == "user"
            assert b"".join(map(base64.b64decode, info["tokens"])).decode() == "Bonjour, où est mon colis?"
            assert len(info["tokenIds"]) == len(info["tokens"])
            assert all(token.isdigit() for token in info["tokenIds"])

    @pytest.mark.parametrize("method", ["countTokens", "computeTokens"])
    def test_nothing_to_count(self, tuned: Tuned, method: str) -> None:
        assert tuned.refused({}, method)["status"] == "INVALID_ARGUMENT"
        assert tuned.refused({"contents": text("user", "a")}, method, name=f"{PARENT}/endpoints/1")["code"] == 404


class TestRefusals:
    BODY = {"contents": [text("user", ASKED)]}

    @pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
    def test_a_base_model_has_no_answers(self, tuned: Tuned, method: str) -> None:
        error = tuned.refused(self.BODY, method, name=PUBLISHER_MODEL)
        assert (error["code"], error["status"]) == (404, "NOT_FOUND")
        assert "serves tuned models only" in error["message"]

    def test_a_model_is_not_an_endpoint(self, tuned: Tuned) -> None:
        error = tuned.refused(self.BODY, name=f"{PARENT}/models/123")
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        assert f"The Model name {PARENT}/models/123 is malformed" in error["message"]

    def test_an_endpoint_that_is_not_there_or_elsewhere(self, tuned: Tuned) -> None:
        for name in (f"{PARENT}/endpoints/1", tuned.endpoint.replace("us-central1", "europe-west4")):
            assert tuned.refused(self.BODY, name=name)["status"] == "NOT_FOUND"

    def test_an_endpoint_with_nothing_deployed(self, tuned: Tuned) -> None:
        error = tuned.refused(self.BODY, name=tuned.idle)
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
    def test_a_wrong_setting_is_named(self, tuned: Tuned, config: dict[str, Any], field: str) -> None:
        error = tuned.refused({**self.BODY, "generationConfig": config})
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        (detail,) = error["details"]
        assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
        assert field in detail["fieldViolations"][0]["field"]

    def test_a_range_is_told_in_the_words_of_the_service(self, tuned: Tuned) -> None:
        error = tuned.refused({**self.BODY, "generationConfig": {"candidateCount": 12}})
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
    def test_a_request_that_makes_no_sense(self, tuned: Tuned, body: Any, message: str) -> None:
        error = tuned.refused(body)
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        assert message in error["message"]

    def test_cached_content_is_not_there(self, tuned: Tuned) -> None:
        assert tuned.refused({**self.BODY, "cachedContent": "projects/1/locations/l/cachedContents/1"})["code"] == 404

    @given(
        body=ANYTHING | SHAPED,
        method=st.sampled_from(["generateContent", "streamGenerateContent", "countTokens", "computeTokens"]),
    )
    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    def test_no_request_breaks_it(self, tuned: Tuned, body: Any, method: str) -> None:
        assert tuned.call(method, body).status_code < 500

    def test_a_huge_request_is_refused_or_answered(self, tuned: Tuned) -> None:
        assert tuned.call("generateContent", {"contents": [text("user", "x" * 11_000_000)]}).status_code in (400, 413)
        long = tuned.ok("countTokens", {"contents": [text("user", "word " * 200_000)]})
        assert long["totalTokens"] >= 200_000
        assert answer_of(tuned.generate("word " * 200_000)) is not None


class TestConcurrency:
    def test_a_long_answer_does_not_hold_up_others(self, tuned: Tuned) -> None:
        """An endless model writes while small requests are answered."""
        endless = replace(tuned, endpoint=tuned.endless)
        answered_meanwhile = 0
        with ThreadPoolExecutor(1) as pool:
            long = pool.submit(endless.generate, candidateCount=8)
            while not long.done():
                tuned.ok("countTokens", {"contents": text("user", "hi")}, name=PUBLISHER_MODEL)
                answered_meanwhile += not long.done()
            response = long.result()
        assert answered_meanwhile >= 3
        assert response["candidates"][7]["finishReason"] == "MAX_TOKENS"
        assert response["usageMetadata"]["candidatesTokenCount"] == 8 * 8192


class TestGenai:
    @pytest.fixture
    def client(self, tuned: Tuned) -> Iterator[genai.Client]:
        with genai.Client(
            vertexai=True,
            project="my-project",
            location="us-central1",
            credentials=Credentials(token="local"),
            http_options=types.HttpOptions(base_url=tuned.url, api_version="v1"),
        ) as made:
            yield made

    def test_generate_with_settings(self, client: genai.Client, tuned: Tuned) -> None:
        response = client.models.generate_content(
            model=tuned.endpoint,
            contents=ASKED,
            config=types.GenerateContentConfig(
                temperature=0, top_p=0.9, top_k=40, max_output_tokens=50, system_instruction=FRENCH
            ),
        )
        assert response.text == "livraison"
        assert response.candidates is not None
        assert response.candidates[0].finish_reason == types.FinishReason.STOP
        assert response.candidates[0].avg_logprobs is not None
        assert response.usage_metadata is not None
        assert response.usage_metadata.candidates_token_count == len(pieces("livraison"))

    def test_stream(self, client: genai.Client, tuned: Tuned) -> None:
        config = types.GenerateContentConfig(temperature=0)
        stream = client.models.generate_content_stream(model=tuned.endpoint, contents=ASKED, config=config)
        assert [chunk.text for chunk in stream] == ["shipping", " team"]

    def test_chat(self, client: genai.Client, tuned: Tuned) -> None:
        chat = client.chats.create(model=tuned.endpoint, config=types.GenerateContentConfig(temperature=0))
        assert chat.send_message("I am Ana").text == "hello Ana"
        assert chat.send_message("who am I").text == "you are Ana"

    def test_count_and_compute(self, client: genai.Client, tuned: Tuned) -> None:
        for model in (tuned.endpoint, "gemini-2.5-flash"):
            assert client.models.count_tokens(model=model, contents=ASKED).total_tokens == len(pieces(ASKED))
            computed = client.models.compute_tokens(model=model, contents=ASKED)
            assert computed.tokens_info is not None
            assert b"".join(computed.tokens_info[0].tokens or []).decode() == ASKED

    @pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # the client's own
    async def test_async(self, client: genai.Client, tuned: Tuned) -> None:
        config = types.GenerateContentConfig(temperature=0)
        response = await client.aio.models.generate_content(model=tuned.endpoint, contents=ASKED, config=config)
        assert response.text == "shipping team"
        stream = await client.aio.models.generate_content_stream(model=tuned.endpoint, contents=ASKED, config=config)
        assert [chunk.text async for chunk in stream] == ["shipping", " team"]
        await client.aio.aclose()

    def test_errors(self, client: genai.Client, tuned: Tuned) -> None:
        with pytest.raises(errors.ClientError) as untuned:
            client.models.generate_content(model="gemini-2.5-flash", contents=ASKED)
        assert (untuned.value.code, untuned.value.status) == (404, "NOT_FOUND")
        hot = types.GenerateContentConfig(temperature=3)
        with pytest.raises(errors.ClientError, match="temperature value of 3"):
            client.models.generate_content(model=tuned.endpoint, contents=ASKED, config=hot)


class TestGapic:
    """The generated clients over REST, in both versions."""

    @pytest.mark.parametrize("version", ["aiplatform_v1", "aiplatform_v1beta1"])
    def test_predict_and_count(self, tuned: Tuned, version: str) -> None:
        api = pytest.importorskip(f"google.cloud.{version}")
        options = {
            "transport": "rest",
            "client_options": {"api_endpoint": tuned.url},
            "credentials": AnonymousCredentials(),
        }
        prediction, llm = api.PredictionServiceClient(**options), api.LlmUtilityServiceClient(**options)
        contents = [api.Content(role="user", parts=[api.Part(text=ASKED)])]
        asked = api.GenerateContentRequest(
            model=tuned.endpoint, contents=contents, generation_config=api.GenerationConfig(temperature=0, top_k=40)
        )
        response = prediction.generate_content(asked)
        assert response.candidates[0].content.parts[0].text == "shipping team"
        assert response.candidates[0].finish_reason == api.Candidate.FinishReason.STOP
        assert response.usage_metadata.candidates_token_count == 2
        chunks = list(prediction.stream_generate_content(asked))
        assert [chunk.candidates[0].content.parts[0].text for chunk in chunks] == ["shipping", " team"]
        count = {"endpoint": tuned.endpoint, "contents": contents}
        assert llm.compute_tokens(count).tokens_info[0].tokens
        counter = llm if hasattr(llm, "count_tokens") else prediction
        assert counter.count_tokens(count).total_tokens == len(pieces(ASKED))
        with pytest.raises(exceptions.NotFound):
            prediction.generate_content(model=f"{PARENT}/endpoints/1", contents=contents)
