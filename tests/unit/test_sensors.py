"""What the sensor does without being required to."""

from __future__ import annotations

from vertex_tuning.sensors import TuningJobSensor


def test_a_sensors_defaults_are_to_look() -> None:
    looking = TuningJobSensor(task_id="wait", job_name="projects/1/locations/us/tuningJobs/1")
    assert (looking.cancel_on_kill, looking.cancel_on_timeout, looking.resubmit) == (False, False, False)
