"""`make test-versions`: the tests on other versions of Airflow and Python, each in a clean environment with the wheels."""
