"""When a tuning runs, in its file."""

from __future__ import annotations

from typing import Any

import pytest
from vertex_tuning.config.schedules import Schedule
from vertex_tuning.config.tuning import Tuning
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.schema import FROM_FILE

SUBSCRIPTION = "projects/my-project/subscriptions/new-data"
FILE: dict[str, Any] = {
    "name": "tickets",
    "bucket": "my-bucket",
    "base_model": "gemini-3.1-flash-lite",
    "training_data": "gs://my-bucket/train.jsonl",
    "display_name": "tickets",
    "smoke_test": {"cases": [{"prompt": "Hello", "equals": "other"}]},
    "evaluation": {"sample_size": 0},
    "promotion": {"rule": {"value": "smoke.pass_share"}},
}


@pytest.mark.parametrize("empty", [None, {}])
def test_a_file_without_times_is_started_by_hand_or_by_an_event(empty: Any) -> None:
    tuning = Tuning.model_validate(FILE | {"schedule": empty}, context=dict(FROM_FILE))
    assert tuning.schedule is not None
    assert (tuning.schedule.cron, tuning.schedule.watch) == (None, None)


def test_a_subscription_needs_no_times() -> None:
    schedule = Schedule(watch={"subscription": SUBSCRIPTION})
    assert schedule.watch
    assert schedule.watch.subscription == SUBSCRIPTION


@pytest.mark.parametrize(
    ("fields", "mistake"),
    [
        ({"only_with_new_data": True}, "schedule.only_with_new_data: found True, expected schedule.cron as well."),
        ({"timezone": "Europe/Berlin"}, "schedule.timezone: found 'Europe/Berlin', expected schedule.cron as well."),
        ({"watch": {}}, "watch.subscription: found nothing, expected a value"),
        ({"watch": SUBSCRIPTION}, f"watch: found '{SUBSCRIPTION}', expected fields and their values"),
        *(
            ({"watch": {"subscription": name}}, f"watch.subscription: found {name!r}, expected projects/PROJECT/subscr")
            for name in (
                "new-data",
                "projects/my-project/topics/new-data",
                f"//pubsub.googleapis.com/{SUBSCRIPTION}",
                f"{SUBSCRIPTION}\n",
                "projects/my-project/subscriptions/1st",
                "projects/{{ var.value.project }}/subscriptions/new-data",
            )
        ),
        ({"only_with_new_data": "yes", "cron": "0 6 * * 1"}, "only_with_new_data: found 'yes', expected true or false"),
    ],
)
def test_a_mistake_names_the_field_what_was_found_and_what_is_expected(fields: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Schedule(**fields)
    assert mistake in str(error.value)
