"""countTokens and computeTokens."""

from __future__ import annotations

import base64

import pytest

from include.gcp_emulator.model.tokens import pieces
from tests.emulator.predictions import PARENT, PUBLISHER_MODEL, Tuned, text


class TestTokens:
    BODY = {"contents": [text("user", "Bonjour, où est mon colis?")], "systemInstruction": text("", "Be brief.")}

    @pytest.mark.parametrize("version", ["v1", "v1beta1"])
    def test_they_can_be_counted_for_endpoints_and_base_models(self, served: Tuned, version: str) -> None:
        expected = len(pieces("Bonjour, où est mon colis?")) + len(pieces("Be brief."))
        for name in (served.endpoint, PUBLISHER_MODEL):
            counted = served.ok("countTokens", self.BODY, name=name, version=version)
            assert counted["totalTokens"] == expected
            assert counted["totalBillableCharacters"] == len("Bonjour,oùestmoncolis?Bebrief.")
            assert counted["promptTokensDetails"] == [{"modality": "TEXT", "tokenCount": expected}]

    def test_a_count_is_what_a_prediction_is_charged(self, served: Tuned) -> None:
        counted = served.ok("countTokens", self.BODY)["totalTokens"]
        assert served.ok("generateContent", self.BODY)["usageMetadata"]["promptTokenCount"] == counted

    def test_files_count_by_their_kind(self, served: Tuned) -> None:
        files = [{"fileData": {"mimeType": kind, "fileUri": "gs://b/o"}} for kind in ("image/png", "video/mp4")]
        body = {"contents": [{"role": "user", "parts": [{"text": "look"}, *files]}]}
        details = served.ok("countTokens", body)["promptTokensDetails"]
        assert {item["modality"] for item in details} == {"TEXT", "IMAGE", "VIDEO"}

    def test_the_older_form_with_instances(self, served: Tuned) -> None:
        counted = served.ok("countTokens", {"instances": ["two words", {"prompt": "x"}]}, name=PUBLISHER_MODEL)
        assert counted["totalTokens"] > 3

    def test_computed_tokens_are_the_text_again(self, served: Tuned) -> None:
        for name in (served.endpoint, PUBLISHER_MODEL):
            (info,) = served.ok("computeTokens", {"contents": self.BODY["contents"]}, name=name)["tokensInfo"]
            assert info["role"] == "user"
            assert b"".join(map(base64.b64decode, info["tokens"])).decode() == "Bonjour, où est mon colis?"
            assert len(info["tokenIds"]) == len(info["tokens"])
            assert all(token.isdigit() for token in info["tokenIds"])

    @pytest.mark.parametrize("method", ["countTokens", "computeTokens"])
    def test_nothing_to_count(self, served: Tuned, method: str) -> None:
        assert served.refused({}, method)["status"] == "INVALID_ARGUMENT"
        assert served.refused({"contents": text("user", "a")}, method, name=f"{PARENT}/endpoints/1")["code"] == 404
