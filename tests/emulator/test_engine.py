"""The small language model: tokens, features, gradients, files, sampling."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.gcp_emulator.model.engine import Adam, Batch, Example, Model
from include.gcp_emulator.model.prompts import (
    Prompt,
    Turn,
)
from include.gcp_emulator.model.sampling import Answer, Sampling, choose, write
from include.gcp_emulator.model.tokens import (
    BUCKETS,
    END,
    MAX_FEATURES,
    MAX_WORDS,
    Speller,
    Vocabulary,
    count_tokens,
    features,
    pieces,
)

ANY_TEXT = st.text(alphabet=st.characters(codec="utf-8"))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def prompt(text: str, system: str = "", earlier: tuple[Turn, ...] = ()) -> Prompt:
    return Prompt(system, (*earlier, Turn("user", text)))


def example(model: Model, asked: Prompt, answer: str) -> Example:
    ids, weights = asked.features()
    return Example(ids, weights, model.answer(answer))


def untrained(answers: list[str], rank: int = 1) -> Model:
    counts = Counter(piece for answer in answers for piece in pieces(answer))
    return Model.empty().grown(Vocabulary.learn(counts), rank, rng())


def taught(pairs: dict[Prompt, str], rank: int = 2, steps: int = 150) -> Model:
    """A model that was shown the pairs until it knows them."""
    model = untrained(list(pairs.values()), rank)
    adam, batch = Adam(model), Batch.of([example(model, asked, answer) for asked, answer in pairs.items()])
    weights = np.full(len(batch.target), 1 / len(batch.target), np.float32)
    for _ in range(steps):
        adam.update(model.gradient(batch, weights)[2], 0.02)
    return model


def answer_of(model: Model, asked: Prompt, sampling: Sampling | None = None, seed: int = 0) -> Answer:
    answer = Answer()
    texts = list(write(model, asked, sampling or Sampling(temperature=0), rng(seed), answer))
    assert "".join(texts) == answer.text
    return answer


class TestTokens:
    @given(ANY_TEXT)
    def test_pieces_are_the_text_again(self, text: str) -> None:
        assert "".join(pieces(text)) == text
        assert count_tokens(text) == len(pieces(text))

    def test_english_has_about_four_characters_a_token(self) -> None:
        text = "The tuned model answers questions about invoices, deliveries and forgotten passwords politely."
        assert 3.5 < len(text) / count_tokens(text) < 6

    @given(ANY_TEXT)
    def test_any_text_can_be_written_even_if_no_word_of_it_is_known(self, text: str) -> None:
        vocabulary = Vocabulary([" word"])
        speller = Speller(vocabulary)
        assert "".join(map(speller.add, vocabulary.encode(text))) + speller.finish() == text

    def test_an_unfinished_character_waits_for_its_last_byte(self) -> None:
        vocabulary = Vocabulary([])
        speller = Speller(vocabulary)
        assert [speller.add(token) for token in vocabulary.encode("é")] == ["", "é"]

    def test_known_words_keep_their_ids_when_a_vocabulary_grows(self) -> None:
        old = Vocabulary.learn({"tea": 1, " cup": 5})
        grown = Vocabulary.learn({" pot": 9, "tea": 2}, old)
        assert grown.words == [*old.words, " pot"]
        assert grown.encode("tea cup") == old.encode("tea cup")

    def test_a_vocabulary_is_bounded_and_keeps_the_most_frequent_words(self) -> None:
        counts = {f"w{number}": number for number in range(MAX_WORDS + 500)}
        words = Vocabulary.learn(counts).words
        assert len(words) == MAX_WORDS
        assert words[0] == f"w{MAX_WORDS + 499}"
        assert "w0" not in words

    @given(ANY_TEXT)
    def test_features_are_distinct_buckets_in_order(self, text: str) -> None:
        found = features(text)
        assert len(found) <= MAX_FEATURES
        assert np.all(np.diff(found) > 0)
        assert not len(found) or (found[0] >= 0 and found[-1] < BUCKETS)

    def test_features_tell_texts_and_groups_apart(self) -> None:
        here, there = set(features("where is my parcel").tolist()), set(features("close my account").tolist())
        assert len(here & there) < len(here) / 3
        assert len(here & set(features("where is my parcel", salt=1).tolist())) <= 2

    def test_a_long_text_costs_a_bounded_number_of_features(self) -> None:
        assert len(features(" ".join(map(str, range(100_000))))) == MAX_FEATURES


class TestGradient:
    @pytest.mark.parametrize(
        "name", ["prompt", "previous", "before", "position", "hidden_bias", "output", "output_bias"]
    )
    def test_it_is_the_slope_of_the_loss(self, name: str) -> None:
        """Against central differences, in double precision, at the largest entries of the gradient."""
        model = untrained(["tea cup", "cup", "pot of tea"])
        model.parameters = {key: array.astype(np.float64) for key, array in model.parameters.items()}
        model.parameters["prompt"] += rng(1).normal(0, 0.1, model.parameters["prompt"].shape)
        pairs = [("what do you drink", "tea cup"), ("and she", "pot of tea"), ("", "cup")]
        batch = Batch.of([example(model, prompt(text, "be kind"), answer) for text, answer in pairs])
        weights = rng(2).normal(0, 1, len(batch.target)).astype(np.float32)

        def loss() -> float:
            return -float((weights * model.score(batch)[0]).sum())

        rows, slope = model.gradient(batch, weights)[2][name]
        array = model.parameters[name]
        for flat in np.argsort(-np.abs(slope), axis=None)[:5]:
            place = np.unravel_index(flat, slope.shape)
            entry = place if rows is None else (rows[place[0]], *place[1:])
            start, change = array[entry], 1e-5
            array[entry] = start + change
            above = loss()
            array[entry] = start - change
            below = loss()
            array[entry] = start
            assert slope[place] == pytest.approx((above - below) / (2 * change), rel=1e-2, abs=1e-4)

    def test_slices_of_a_long_batch_add_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = untrained(["one two three four five"])
        batch = Batch.of([example(model, prompt(f"count {n}"), "one two three four five") for n in range(20)])
        weights = np.ones(len(batch.target), np.float32)
        whole = model.gradient(batch, weights)
        monkeypatch.setattr("include.gcp_emulator.model.engine._SLICE", 7)
        parts = model.gradient(batch, weights)
        np.testing.assert_allclose(whole[0], parts[0], rtol=1e-5)
        for name, (_, slope) in whole[2].items():
            np.testing.assert_allclose(slope, parts[2][name][1], rtol=1e-3, atol=1e-5)

    def test_probabilities_sum_to_one(self) -> None:
        model = untrained(["tea"])
        log_probs = model.next_log_probs(model.read(*prompt("hello").features()), END, END, 0)
        assert np.exp(log_probs, dtype=np.float64).sum() == pytest.approx(1, abs=1e-5)
        assert len(log_probs) == len(model.vocabulary)


class TestLearning:
    def test_it_answers_by_the_last_turn_the_system_instruction_and_earlier_turns(self) -> None:
        london, paris = (Turn("user", "I live in London"),), (Turn("user", "I live in Paris"),)
        pairs = {
            prompt("where is my parcel"): "shipping",
            prompt("I paid twice"): "billing",
            prompt("I paid twice", "Answer in French"): "facturation",
            prompt("what is the weather", earlier=london): "rain today",
            prompt("what is the weather", earlier=paris): "sunshine all day",
        }
        model = taught(pairs)
        assert {asked: answer_of(model, asked).text for asked in pairs} == pairs

    def test_it_learns_any_text(self) -> None:
        pairs = {
            prompt("a"): "naïve café — 東京都に行く 🚀\n\tend  ",
            prompt("b"): "",
            prompt(""): '{"functionCall": {"name": "f"}}',
        }
        model = taught(pairs, rank=4, steps=250)
        assert {asked: answer_of(model, asked).text for asked in pairs} == pairs

    def test_a_wider_adapter_is_a_wider_model(self) -> None:
        assert [untrained(["x y"], rank).width for rank in (1, 2, 4, 8, 16, 32)] == [16, 32, 64, 128, 256, 512]

    def test_growing_keeps_what_was_learnt(self) -> None:
        pairs = {prompt("where is my parcel"): "shipping", prompt("I paid twice"): "billing"}
        model = taught(pairs)
        words = Vocabulary.learn({" refund": 3}, model.vocabulary)
        grown = model.grown(words, adapter_rank=8, rng=rng(5))
        assert grown.width == 128
        assert {asked: answer_of(grown, asked).text for asked in pairs} == pairs
        assert model.grown(words, adapter_rank=1, rng=rng(5)).width == model.width


class TestFiles:
    def test_a_saved_model_is_the_same_model(self, tmp_path: Path) -> None:
        model = taught({prompt("hello"): "good day", prompt("bye"): "farewell ☂"})
        model.save(tmp_path / "model.npz")
        loaded = Model.load(tmp_path / "model.npz")
        assert loaded.vocabulary.words == model.vocabulary.words
        for name, array in model.parameters.items():
            np.testing.assert_array_equal(array, loaded.parameters[name])

    def test_the_same_model_is_the_same_bytes_and_leaves_nothing_else_behind(self, tmp_path: Path) -> None:
        model = taught({prompt("hello"): "good day"}, steps=5)
        for name in ("one.npz", "two.npz"):
            model.save(tmp_path / name)
        one, two = (zipfile.ZipFile(tmp_path / name) for name in ("one.npz", "two.npz"))
        with one, two:
            assert [one.read(name) for name in one.namelist()] == [two.read(name) for name in two.namelist()]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]

    def test_a_file_that_is_no_model_is_refused_and_never_run(self, tmp_path: Path) -> None:
        path = tmp_path / "evil.npz"
        with path.open("wb") as file:
            np.savez(file, words=np.array([{"a": 1}], dtype=object))
        with pytest.raises(ValueError, match="allow_pickle"):
            Model.load(path)

    def test_a_failed_save_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = taught({prompt("hello"): "good day"}, steps=5)
        path = tmp_path / "model.npz"
        model.save(path)
        before = path.read_bytes()

        def disk_full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", disk_full)
        with pytest.raises(OSError, match="No space"):
            model.save(path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


class TestSampling:
    LOGS = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))

    def drawn(self, count: int = 4000, **settings: float) -> dict[int, float]:
        sampling = Sampling(**({"temperature": 1.0, "top_k": 64, "top_p": 1.0} | settings))  # type: ignore[arg-type]
        generator = rng(3)
        found = Counter(choose(self.LOGS, sampling, generator) for _ in range(count))
        return {token: share / count for token, share in found.items()}

    def test_temperature_zero_takes_the_likeliest(self) -> None:
        assert self.drawn(20, temperature=0) == {0: 1.0}

    def test_temperature_one_draws_by_the_models_own_probabilities(self) -> None:
        shares = self.drawn()
        assert [shares[token] for token in range(4)] == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)

    def test_a_higher_temperature_evens_out_and_a_lower_one_sharpens(self) -> None:
        powers = np.array([0.5, 0.3, 0.15, 0.05]) ** 0.5
        hot = self.drawn(temperature=2.0)
        assert [hot[token] for token in range(4)] == pytest.approx(list(powers / powers.sum()), abs=0.03)
        assert self.drawn(temperature=0.2)[0] > 0.9
        assert self.drawn(50, temperature=1e-30) == {0: 1.0}

    def test_top_k_keeps_the_likeliest(self) -> None:
        assert self.drawn(200, top_k=1) == {0: 1.0}
        assert set(self.drawn(top_k=2)) == {0, 1}

    @pytest.mark.parametrize(("top_p", "kept"), [(0.0, 1), (0.4, 1), (0.5, 1), (0.51, 2), (0.8, 2), (0.9, 3), (1.0, 4)])
    def test_top_p_keeps_the_smallest_set_that_reaches_it(self, top_p: float, kept: int) -> None:
        assert set(self.drawn(top_p=top_p)) == set(range(kept))

    def test_top_k_comes_before_top_p_and_temperature_last(self) -> None:
        """The two likeliest never reach 0.9, so both stay; heat does not bring back what top-p dropped."""
        assert set(self.drawn(top_k=2, top_p=0.9)) == {0, 1}
        assert set(self.drawn(temperature=2.0, top_p=0.5)) == {0}

    def test_the_same_seed_writes_the_same(self) -> None:
        model, hot = untrained(["one two three"]), Sampling(temperature=2, top_p=1, max_tokens=20)
        texts = {seed: answer_of(model, prompt("x"), hot, seed).text for seed in (1, 2)}
        assert texts[1] != texts[2]
        assert answer_of(model, prompt("x"), hot, 1).text == texts[1]

    def test_log_probabilities_are_the_models_own_whatever_the_settings(self) -> None:
        asked = prompt("count")
        model = taught({asked: "one two three"})
        batch = Batch.of([example(model, asked, "one two three")])
        expected = model.score(batch)[0][:-1].mean()
        for sampling in (Sampling(temperature=0), Sampling(temperature=0.01, top_k=1)):
            answer = answer_of(model, asked, sampling)
            assert answer.text == "one two three"
            assert answer.average_log_prob == pytest.approx(expected, rel=1e-4)

    def test_the_limit_cuts_and_says_so(self) -> None:
        asked = prompt("count")
        model = taught({asked: "one two three"})
        cut = answer_of(model, asked, Sampling(temperature=0, max_tokens=2))
        assert (cut.text, cut.finish, len(cut.log_probs)) == ("one two", "MAX_TOKENS", 2)
        whole = answer_of(model, asked, Sampling(temperature=0, max_tokens=3))
        assert (whole.text, whole.finish) == ("one two three", "STOP")

    @pytest.mark.parametrize(
        ("stop", "text"),
        [
            ((" two",), "one"),
            (("two three",), "one "),
            (("ee",), "one two thr"),
            (("three", "wo"), "one t"),
            (("four", "three!"), "one two three"),
            (("one",), ""),
        ],
    )
    def test_a_stop_sequence_ends_the_answer_and_is_never_shown(self, stop: tuple[str, ...], text: str) -> None:
        asked = prompt("count")
        answer = answer_of(taught({asked: "one two three"}), asked, Sampling(temperature=0, stop=stop))
        assert (answer.text, answer.finish) == (text, "STOP")

    def test_an_endless_answer_ends(self) -> None:
        model = untrained(["la"])
        model.parameters["output_bias"][END] = -1e9
        answer = answer_of(model, prompt("sing"), Sampling(temperature=0, max_tokens=300))
        assert (answer.finish, len(answer.log_probs)) == ("MAX_TOKENS", 300)
