"""What the triggerer keeps of a wait."""

from __future__ import annotations

from vertex_tuning.triggers import TuningJobTrigger


def test_it_is_made_again_from_what_it_serialises_and_holds_no_credential() -> None:
    trigger = TuningJobTrigger(
        job_name="projects/1/locations/us-central1/tuningJobs/2",
        gcp_conn_id="google_cloud_default",
        impersonation_chain=None,
        poll_interval=60.0,
        end_time=2e9,
        max_poll_failures=3,
        cancel_on_kill=True,
    )
    path, arguments = trigger.serialize()
    assert path == "vertex_tuning.triggers.TuningJobTrigger"
    assert TuningJobTrigger(**arguments).serialize() == trigger.serialize()
    assert not {"credentials", "token", "keyfile"} & set(arguments)
