"""Prediction by google-genai and the GAPIC clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google import genai
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from include.gcp_emulator.model.tokens import pieces
from tests.emulator.predictions import ASKED, FRENCH, PARENT, Tuned


class TestGenai:
    @pytest.fixture
    def client(self, served: Tuned) -> Iterator[genai.Client]:
        with genai.Client(
            vertexai=True,
            project="my-project",
            location="us-central1",
            credentials=Credentials(token="local"),
            http_options=types.HttpOptions(base_url=served.url, api_version="v1"),
        ) as made:
            yield made

    def test_generate_with_settings(self, client: genai.Client, served: Tuned) -> None:
        response = client.models.generate_content(
            model=served.endpoint,
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

    def test_stream(self, client: genai.Client, served: Tuned) -> None:
        config = types.GenerateContentConfig(temperature=0)
        stream = client.models.generate_content_stream(model=served.endpoint, contents=ASKED, config=config)
        assert [chunk.text for chunk in stream] == ["shipping", " team"]

    def test_chat(self, client: genai.Client, served: Tuned) -> None:
        chat = client.chats.create(model=served.endpoint, config=types.GenerateContentConfig(temperature=0))
        assert chat.send_message("I am Ana").text == "hello Ana"
        assert chat.send_message("who am I").text == "you are Ana"

    def test_a_base_model_by_its_bare_name(self, client: genai.Client) -> None:
        config = types.GenerateContentConfig(temperature=0)
        response = client.models.generate_content(model="gemini-2.5-flash", contents=ASKED, config=config)
        assert response.text
        chunks = client.models.generate_content_stream(model="gemini-2.5-flash", contents=ASKED, config=config)
        assert "".join(chunk.text or "" for chunk in chunks) == response.text

    def test_count_and_compute(self, client: genai.Client, served: Tuned) -> None:
        for model in (served.endpoint, "gemini-2.5-flash"):
            assert client.models.count_tokens(model=model, contents=ASKED).total_tokens == len(pieces(ASKED))
            computed = client.models.compute_tokens(model=model, contents=ASKED)
            assert computed.tokens_info is not None
            assert b"".join(computed.tokens_info[0].tokens or []).decode() == ASKED

    @pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # the client's own
    async def test_async(self, client: genai.Client, served: Tuned) -> None:
        config = types.GenerateContentConfig(temperature=0)
        response = await client.aio.models.generate_content(model=served.endpoint, contents=ASKED, config=config)
        assert response.text == "shipping team"
        stream = await client.aio.models.generate_content_stream(model=served.endpoint, contents=ASKED, config=config)
        assert [chunk.text async for chunk in stream] == ["shipping", " team"]
        await client.aio.aclose()

    def test_errors(self, client: genai.Client, served: Tuned) -> None:
        with pytest.raises(errors.ClientError) as unknown:
            client.models.generate_content(model="gemini-9-ultra", contents=ASKED)
        assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
        hot = types.GenerateContentConfig(temperature=3)
        with pytest.raises(errors.ClientError, match="temperature value of 3"):
            client.models.generate_content(model=served.endpoint, contents=ASKED, config=hot)


class TestGapic:
    """The generated clients over REST, in both versions."""

    @pytest.mark.parametrize("version", ["aiplatform_v1", "aiplatform_v1beta1"])
    def test_predict_and_count(self, served: Tuned, version: str) -> None:
        api = pytest.importorskip(f"google.cloud.{version}")
        options = {
            "transport": "rest",
            "client_options": {"api_endpoint": served.url},
            "credentials": AnonymousCredentials(),
        }
        prediction, llm = api.PredictionServiceClient(**options), api.LlmUtilityServiceClient(**options)
        contents = [api.Content(role="user", parts=[api.Part(text=ASKED)])]
        asked = api.GenerateContentRequest(
            model=served.endpoint, contents=contents, generation_config=api.GenerationConfig(temperature=0, top_k=40)
        )
        response = prediction.generate_content(asked)
        assert response.candidates[0].content.parts[0].text == "shipping team"
        assert response.candidates[0].finish_reason == api.Candidate.FinishReason.STOP
        assert response.usage_metadata.candidates_token_count == 2
        chunks = list(prediction.stream_generate_content(asked))
        assert [chunk.candidates[0].content.parts[0].text for chunk in chunks] == ["shipping", " team"]
        count = {"endpoint": served.endpoint, "contents": contents}
        assert llm.compute_tokens(count).tokens_info[0].tokens
        counter = llm if hasattr(llm, "count_tokens") else prediction
        assert counter.count_tokens(count).total_tokens == len(pieces(ASKED))
        with pytest.raises(exceptions.NotFound):
            prediction.generate_content(model=f"{PARENT}/endpoints/1", contents=contents)
