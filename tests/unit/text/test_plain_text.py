"""Text from outside: what is shown of it, and what never reaches a page, an error or a result."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning import exceptions
from vertex_tuning.evaluation.approval_text import markdown
from vertex_tuning.evaluation.cases import parse_cases
from vertex_tuning.evaluation.promotion_rule import parse_rule
from vertex_tuning.jobs.job import TuningJob, terminal_event
from vertex_tuning.jobs.reconciliation import compare_with_service
from vertex_tuning.operators.report import keep_error
from vertex_tuning.report.parts import answers
from vertex_tuning.results import AnswerSet, SmokeAnswer
from vertex_tuning.text.plain_text import SEARCHED, plain, plain_lines, storable_json, without_secrets

from tests.support.hostile_text import HOSTILE, is_plain
from tests.support.tasks import TaskContext, sensor

TRAIN = "projects/1/locations/us-central1/tuningJobs/1"


class TestPlain:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("Ünïcode, 日本語, עברית, 🙂 ❤️", "Ünïcode, 日本語, עברית, 🙂 ❤️"),
            ("12\u00a0000 €", "12\u00a0000 €"),
            (r"C:\temp {n}", r"C:\temp {n}"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\x1b[2J\x07\x9b", r"\x1b[2J\x07\x9b"),
            ("\0\ud800", r"\x00\ud800"),
            ("\u202e\u200b\u2028", r"\u202e\u200b\u2028"),
            ("\U000e0041\u3164", r"\U000e0041\u3164"),
        ],
    )
    def test_escapes_what_cannot_be_seen_and_nothing_else(self, text: str, shown: str) -> None:
        assert plain(text) == shown

    @given(st.text(st.characters(codec=None)), st.integers(1, 40))
    def test_any_text_becomes_one_line_that_can_be_seen_and_stored(self, text: str, limit: int) -> None:
        shown = plain(text, limit)
        assert len(shown) <= limit
        assert len(shown.splitlines()) <= 1
        assert "\0" not in shown.encode().decode()
        assert plain(shown, limit) == shown

    def test_lines_of_its_own_stay(self) -> None:
        assert plain_lines("a\x1b\n\tb\n", 100) == "a\\x1b\n\\tb\n"
        assert len(plain_lines("\x1b\n" * 10**6, 50)) == 50

    def test_json_loses_what_postgresql_cannot_hold_at_any_depth(self) -> None:
        value = {"\0": ["\ud800", {"a": "x\0"}, 1, None]}
        assert storable_json(value) == {"\ufffd": ["?", {"a": "x\ufffd"}, 1, None]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "503 POST https://storage.googleapis.com/upload/storage/v1/b/b/o?uploadType=resumable&upload_id=KEY: x",
            "503 POST https://storage.googleapis.com/upload/storage/v1/b/b/o?… x",
        ),
        (
            "Max retries exceeded with url: /upload/storage/v1/b/b/o?uploadType=resumable&upload_id=KEY (Caused by x)",
            "Max retries exceeded with url: /upload/storage/v1/b/b/o?… (Caused by x)",
        ),
        ("'https://me:KEY@host:8080/x'", "'https://host:8080/x'"),
        ("s3://AKIA:a/KEY@bucket/x", "s3://bucket/x"),
        ("https://host/x?KEY", "https://host/x?…"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("http://h:80/v1/projects/p/models/1@2:predict?alt=sse", "http://h:80/v1/projects/p/models/1@2:predict?…"),
        ("http://[::1]:80/models/1@2.", "http://[::1]:80/models/1@2."),
        ("https://host/x#access_token=KEY", "https://host/x#…"),
        ("https://host/x;upload_id=KEY/y", "https://host/x;…"),
        ("(see https://host/x?a=KEY)", "(see https://host/x?…)"),
        ("https://u:p#KEY@host/x", "https://host/x"),
        ("https://u:p?KEY@host/x", "https://host/x"),
        ("https://u:1234/KEY@host/x", "https://host/x"),
        ("https://;:KEY@host/x", "https://host/x"),
        ("https://a#b:KEY@host/x", "https://…"),
        ("https://u:1234/KEY@host.com", "https://host.com"),
        ("s3://u:K%2FEY@bucket/x", "s3://bucket/x"),
        ("https://a;b:KEY@host/x", "https://host/x"),
        ("https://me:p;a=KEY@host/x", "https://host/x"),
        ("https://host;id=KEY@KEY", "https://host;…"),
        ("https://u:KEY@/KEY@host/x", "https://host/x"),
        ("https://u:KEY@host/models/1@2", "https://host/models/1@2"),
        ("https://KEY@host", "https://host"),
        ("https://u:KE@Y@host/x", "https://host/x"),
        ("http://a/x,https://u:KEY@b/y", "http://a/x,https://b/y"),
        ("to=https%3A%2F%2Fu%3AKEY%40host%2Fx%3Fid%3DKEY", "to=https%3A%2F%2F…"),
        ("to=https%253a%252f%252Fu%253AKEY%2540host", "to=https%253a%252f%252F…"),
        ("https://docs/storage/buckets#naming", "https://docs/storage/buckets#naming"),
        ("gs://bucket/part-?.jsonl", "gs://bucket/part-?.jsonl"),
        ("Is it a=b? Yes.", "Is it a=b? Yes."),
    ],
)
def test_urls_have_neither_user_nor_query(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


PARTS = st.text(
    st.characters(blacklist_characters="@ /?#'\"<>", blacklist_categories=("Z", "C")), min_size=1, max_size=8
)
SECRET = st.builds(
    "SECRET{}SECRET".format, st.text("abc123:#?/;&=%@", max_size=6).filter(lambda text: "://" not in text)
)
HOST = st.sampled_from(["host/x", "host.com", "storage.googleapis.com/b/o", "bucket/rows.jsonl"])
SCHEME = st.sampled_from(["http", "https", "s3", "sftp"])


@given(SCHEME, PARTS, SECRET, HOST)
def test_no_password_is_shown(scheme: str, user: str, secret: str, host: str) -> None:
    assert "SECRET" not in without_secrets(f"error: {scheme}://{user}:{secret}@{host}, try again")


@given(SCHEME, HOST, st.sampled_from(["?", "#", ";", "?a=b&", "?a="]), SECRET)
def test_no_query_is_shown(scheme: str, host: str, mark: str, secret: str) -> None:
    assert "SECRET" not in without_secrets(f"error: {scheme}://{host}{mark}key={secret}, try again")


@given(st.text(st.sampled_from("http:/?#&;=@%3A2F1.x …)('"), max_size=60) | st.text(max_size=60))
def test_what_was_shown_once_stays_as_it_is(text: str) -> None:
    shown = without_secrets(text)
    assert without_secrets(shown) == shown


LARGE = 8_000_000
SLOW = {
    "schemes": "http://",
    "users": "http://a:b",
    "addresses": "https://storage.googleapis.com/my-bucket/exports/part-00001.jsonl,",
    "questions": "?",
    "values": "=?",
    "ats": "://:@",
    "colons": ":",
    "percents": "%3A%2F%2F",
    "encoded": "%252525",
    "words": "http://u:p@h/x?y=z ",
    "plain words": "there is nothing here ",
}


@pytest.mark.parametrize("unit", SLOW.values(), ids=SLOW)
@pytest.mark.parametrize("end", ["", "@", "=", "@h?a=b "])
def test_a_large_text_takes_no_long_time(unit: str, end: str) -> None:
    text = unit * (LARGE // len(unit)) + end
    start = time.process_time()
    shown = without_secrets(text)
    assert time.process_time() - start < 2
    assert len(shown) <= SEARCHED + 1


def test_a_url_that_is_cut_in_half_is_left_out() -> None:
    url = "https://user:SECRET@host/x"
    for end in range(len(url)):
        text = "a" * (SEARCHED - end - 1) + " " + url * 2
        assert "SECRET" not in without_secrets(text)


def test_time_grows_with_the_text_alone() -> None:
    """Of one run that fills all that is searched."""
    for unit in SLOW.values():
        text = unit.replace(" ", "_") * (SEARCHED // len(unit))
        start = time.process_time()
        without_secrets(text)
        assert time.process_time() - start < 0.5


# Jobs


def job(**fields: Any) -> TuningJob:
    return TuningJob.parse({"name": TRAIN, "state": "JOB_STATE_FAILED", **fields})


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
class TestJobs:
    def test_the_error_is_one_plain_line(self, text: str) -> None:
        event = terminal_event(job(error={"code": 3, "message": text}))
        with pytest.raises(exceptions.TuningJobFailedError) as error:
            sensor(TRAIN).execute_complete(TaskContext(), event, TRAIN)  # type: ignore[arg-type]
        assert is_plain(str(error.value))

    def test_names_are_plain_and_all_of_it_can_be_stored(self, text: str) -> None:
        found = job(
            tuned_model_display_name=text,
            description=text,
            labels={text: text},
            base_model=text,
            error={"code": 3, "message": text},
        )
        assert is_plain(str(found.tuned_model_display_name))
        event = json.dumps(terminal_event(found))
        event.encode()
        assert "\\u0000" not in event
        assert TuningJob.parse(found.as_xcom()) == found

    def test_reasons_for_dropped_examples(self, text: str) -> None:
        stats = {"total_truncated_example_count": 1, "dropped_example_reasons": [text]}
        found = job(tuning_data_stats={"supervised_tuning_data_stats": stats})
        [warning] = compare_with_service({"rows": 3, "tokens": 3}, found)
        assert is_plain(warning)


def test_a_long_error_of_a_job_is_cut() -> None:
    error = job(error={"code": 3, "message": "x" * 10**6}).error
    assert error
    assert len(error.message) == 2000


# Models and cases


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
class TestModels:
    def test_names_of_cases(self, text: str) -> None:
        [named, unnamed] = parse_cases([{"name": text, "prompt": "x"}, {"prompt": text}])
        assert is_plain(named.name)
        assert is_plain(unnamed.name)
        rule = parse_rule({"value": "sample.exact_share", "no_regression": [text]}, [named])
        assert rule.no_regression == [named.name]

    def test_their_answers_on_the_page(self, text: str) -> None:
        answer = SmokeAnswer("n", text, f"first line\n{text}", text, latency=0.1, tokens=3, finish_reason="STOP")
        shown = answers(AnswerSet(0, 1, [answer]), None)
        assert shown
        assert all(map(is_plain, shown.answers[0].answer.split("\n")))
        assert shown.answers[0].answer.startswith("first line\n")

    def test_in_the_approval(self, text: str) -> None:
        assert is_plain(markdown(text).replace("\u2060", ""))

    def test_errors_that_are_kept_for_the_report(self, text: str) -> None:
        context: Any = TaskContext()
        context["exception"] = ValueError(f"first line\n{text}")
        keep_error(context)
        assert all(map(is_plain, context.xcoms["error"].split("\n")))
        assert context.xcoms["error"].startswith("first line\n")
