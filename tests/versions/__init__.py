"""`make test-versions`: the tests on other versions of Airflow and Python, in clean environments with the wheels."""
