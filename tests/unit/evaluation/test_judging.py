"""Summaries of scores, and what the scoring does without a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest
from vertex_tuning.evaluation.cases import SmokeCase, Turn, judge_prompt
from vertex_tuning.evaluation.judging import (
    score_models,
    summarize_scores,
    win_rate,
)
from vertex_tuning.evaluation.sample_metrics import parse_metrics
from vertex_tuning.exceptions import ConfigurationError, VertexRequestError, VertexUnavailableError
from vertex_tuning.scores import (
    AnsweredRow,
    PairChoice,
    Preference,
    RatedAnswer,
    Rating,
    SampleMetric,
    Score,
    ScoredRow,
)

BLEU = parse_metrics(["bleu"])
PAIRWISE = parse_metrics([{"pairwise": "text_quality"}])


def row(number: int, reference: str = "yes", **answers: str) -> AnsweredRow:
    return AnsweredRow(f"row {number}", "Is it late?", reference, answers)


class NoService:
    """A service that must not be reached."""

    def rate(self, metric: SampleMetric, answers: object) -> list[Rating]:
        raise AssertionError(metric, answers)

    def prefer(self, *texts: str) -> tuple[str, str]:
        raise AssertionError(texts)


class PositionBias(NoService):
    """A judge that always prefers the answer that it sees at one place."""

    def __init__(self, place: str) -> None:
        self.place = place

    def prefer(self, *texts: str) -> tuple[str, str]:
        assert len(texts) == 4
        return self.place, f"The {self.place} is better."


class Rater(NoService):
    """Gives every answer the full score, or the error for its text."""

    def __init__(self, errors: Mapping[str, Rating] = MappingProxyType({})) -> None:
        self.errors, self.rated = errors, 0

    def rate(self, metric: SampleMetric, answers: Sequence[RatedAnswer]) -> list[Rating]:  # type: ignore[override]
        assert metric.kind == "computed"
        self.rated += len(answers)
        return [self.errors.get(answer.answer, Score(1.0)) for answer in answers]


class TestLocalMetrics:
    def test_scores_by_row_and_means_by_model_without_the_service(self) -> None:
        rows = [row(1, challenger="yes", champion="no"), row(2, challenger="yes it is", champion=" yes ")]
        found = score_models(NoService(), rows, parse_metrics(["exact_match", "token_f1"]))  # type: ignore[arg-type]
        assert found.values == {
            "challenger": {"sample.exact_match": 0.5, "sample.token_f1": (1 + 0.5) / 2},
            "champion": {"sample.exact_match": 0.5, "sample.token_f1": 0.5},
        }
        assert [scored.row for scored in found.rows] == rows
        assert found.win_rate is None
        assert found.errors == {}

    def test_a_row_without_the_reference_that_a_metric_needs(self) -> None:
        rows = [row(1, challenger="yes"), row(2, reference=" ", challenger="yes")]
        with pytest.raises(ConfigurationError, match="token_f1 compares with a reference, but row row 2 has none"):
            score_models(NoService(), rows, parse_metrics(["token_f1"]))  # type: ignore[arg-type]

    def test_no_rows(self) -> None:
        assert score_models(NoService(), [], parse_metrics(["exact_match"])).values == {}  # type: ignore[arg-type]


class TestPairs:
    @pytest.mark.parametrize("place", ["first", "second"])
    def test_a_judge_that_changes_its_mind_with_the_order_sees_a_tie(self, place: str) -> None:
        rows = [row(number, challenger="yes", champion="no") for number in range(3)]
        found = score_models(PositionBias(place), rows, PAIRWISE)  # type: ignore[arg-type]
        assert [scored.choice and scored.choice.preferred for scored in found.rows] == ["tie"] * 3
        assert found.values["challenger"]["judge.win_rate"] == 0.5
        assert found.rows[0].choice
        assert found.rows[0].choice.reasons == (f"The {place} is better.",) * 2

    @pytest.mark.parametrize(
        ("new", "old", "preferred"),
        [("yes", "yes ", "tie"), ("", " ", "tie"), ("yes", "", "new"), ("\n", "yes", "old")],
    )
    def test_equal_and_empty_answers_need_no_judge(self, new: str, old: str, preferred: str) -> None:
        found = score_models(NoService(), [row(1, challenger=new, champion=old)], PAIRWISE)  # type: ignore[arg-type]
        assert found.rows[0].choice
        assert found.rows[0].choice.preferred == preferred

    def test_a_row_without_an_answer_of_the_pair(self) -> None:
        with pytest.raises(
            ConfigurationError, match="compares challenger with champion, but row row 1 has no answer of"
        ):
            score_models(NoService(), [row(1, challenger="yes")], PAIRWISE)  # type: ignore[arg-type]

    def test_another_pair(self) -> None:
        rows = [row(1, challenger="yes", baseline="")]
        found = score_models(NoService(), rows, PAIRWISE, pair=("challenger", "baseline"))  # type: ignore[arg-type]
        assert found.values == {"challenger": {"judge.win_rate": 1.0}}


class TestKnownRows:
    def test_complete_rows_of_an_earlier_attempt_are_kept(self) -> None:
        old = ScoredRow(row(1, challenger="a", champion="b"), {}, PairChoice("old", ("x", "y")))
        saved: list[int] = []
        found = score_models(
            NoService(),  # type: ignore[arg-type]
            [row(2, challenger="a", champion=""), old.row],
            PAIRWISE,
            known=[old],
            save=lambda rows: saved.append(len(rows)),
        )
        assert found.rows[1] == old
        assert saved == [2]

    @pytest.mark.parametrize(
        "choice", [None, PairChoice(error="Later."), PairChoice("old", ("x", "y"))], ids=["no", "error", "other answer"]
    )
    def test_others_are_scored_again(self, choice: PairChoice | None) -> None:
        now = row(1, challenger="a", champion="b")
        before = row(1, challenger="other", champion="b") if choice and choice.preferred else now
        found = score_models(
            PositionBias("first"),  # type: ignore[arg-type]
            [now],
            PAIRWISE,
            known=[ScoredRow(before, {}, choice)],
        )
        assert found.rows[0].choice
        assert found.rows[0].choice.preferred == "tie"

    def test_a_score_that_is_missing_is_asked_for_again(self) -> None:
        now = row(1, challenger="a", champion="b")
        before = ScoredRow(now, {"sample.bleu": {"challenger": Score(0.5), "champion": Score(error="Later.")}})
        found = score_models(Rater(), [now], BLEU, known=[before])  # type: ignore[arg-type]
        assert found.rows[0].scores["sample.bleu"] == {"challenger": Score(1.0), "champion": Score(1.0)}
        assert found.errors == {}

    def test_rows_that_are_refused_each_time_fail_no_later_attempt(self) -> None:
        """The first attempt was content with the other rows."""
        rows = [row(number, challenger=f"a {number}", champion="b") for number in range(20)]
        service = Rater({rows[0].answers["challenger"]: VertexRequestError("Blocked.")})
        first = score_models(service, rows, BLEU)  # type: ignore[arg-type]
        again = score_models(service, rows, BLEU, known=first.rows)  # type: ignore[arg-type]
        assert again.errors == first.errors == {"sample.bleu": 1}


class TestOutage:
    def test_one_in_the_middle_is_an_error_and_the_scores_are_kept(self) -> None:
        """Else the models could not be compared, and the new one would be refused for it."""
        rows = [row(number, challenger=f"a {number}", champion=f"b {number}") for number in range(100)]
        down = {text: VertexUnavailableError("Down.") for scored in rows[40:] for text in scored.answers.values()}
        kept: list[ScoredRow] = []

        def keep(so_far: list[ScoredRow]) -> None:
            kept[:] = so_far

        with pytest.raises(VertexUnavailableError, match=r"sample.bleu: found \d+ temporary errors. Down."):
            score_models(Rater(down), rows, BLEU, save=keep)  # type: ignore[arg-type]
        service = Rater()
        found = score_models(service, rows, BLEU, known=kept)  # type: ignore[arg-type]
        assert service.rated == 2 * 60
        assert found.errors == {}

    def test_a_few_errors_are_counted(self) -> None:
        rows = [row(number, challenger=f"a {number}", champion="b") for number in range(100)]
        down = {scored.answers["challenger"]: VertexUnavailableError("Down.") for scored in rows[:9]}
        assert score_models(Rater(down), rows, BLEU).errors == {"sample.bleu": 9}  # type: ignore[arg-type]


class TestWinRate:
    def test_wilson_interval(self) -> None:
        # 81 of 263: the example of R. G. Newcombe, Statistics in Medicine 17 (1998), table I, two-sided 95 %.
        wins: list[Preference] = ["new"] * 81
        losses: list[Preference] = ["old"] * 182
        rate = win_rate(wins + losses, confidence=0.975)
        assert rate
        assert (round(rate.lower, 4), round(rate.upper, 4)) == (0.2553, 0.3662)

    def test_a_tie_is_half_a_win(self) -> None:
        outcomes: list[Preference] = ["new", "tie", "tie", "old"]
        rate = win_rate(outcomes, 0.95)
        assert rate
        assert (rate.observed, rate.wins, rate.ties, rate.losses) == (0.5, 1, 2, 1)
        assert rate.lower < 0.5 < rate.upper

    @pytest.mark.parametrize(("outcome", "observed"), [("new", 1.0), ("old", 0.0)])
    def test_bounds_stay_shares(self, outcome: Preference, observed: float) -> None:
        rate = win_rate([outcome], 0.95)
        assert rate
        assert rate.observed == observed
        assert 0 <= rate.lower <= rate.upper <= 1

    def test_none_without_pairs(self) -> None:
        assert win_rate([], 0.95) is None


def scored(number: int, *scores: Score, choice: PairChoice | None = None) -> ScoredRow:
    by_role = dict(zip(("challenger", "champion"), scores, strict=True))
    return ScoredRow(row(number, challenger="a", champion="b"), {"sample.bleu": by_role}, choice)


def test_means_leave_out_rows_with_an_error_on_either_side() -> None:
    rows = [
        scored(1, Score(1.0), Score(0.5), choice=PairChoice("new", ("a", "b"))),
        scored(2, Score(0.0), Score(error="Later."), choice=PairChoice(error="Later.")),
    ]
    found = summarize_scores(rows)
    assert found.values == {"challenger": {"sample.bleu": 1.0, "judge.win_rate": 1.0}, "champion": {"sample.bleu": 0.5}}
    assert found.errors == {"sample.bleu": 1, "judge.win_rate": 1}


def test_a_judge_reads_all_that_the_model_received() -> None:
    assert judge_prompt(SmokeCase(prompt="Hi")) == "Hi"
    turns = [Turn(role="user", text="I am Ana"), Turn(role="model", text="Hello Ana")]
    case = SmokeCase(prompt="Who am I?", turns=turns, system_instruction="Be brief.")
    assert judge_prompt(case) == "Be brief.\n\nuser: I am Ana\n\nmodel: Hello Ana\n\nuser: Who am I?"
    assert judge_prompt(SmokeCase(turns=[Turn(text="Hi")])) == "Hi"
