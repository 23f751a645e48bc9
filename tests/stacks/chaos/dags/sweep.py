"""The shipped tuning as a sweep: a mapped task group creates two jobs from one dataset, and waits for both."""

from __future__ import annotations

from airflow.sdk import DAG
from vertex_tuning.config.default_args import DEFAULT_ARGS
from vertex_tuning.config.hyper_parameters import HyperParameters
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.pipeline import tuning_pipeline

from include.local.stack import PROJECT_DIR

SHIPPED = load_tuning(PROJECT_DIR / "include" / "tunings" / "support_triage.yaml")
CHANGES = {
    "name": "swept_triage",
    "hyper_parameters": HyperParameters(epoch_count=[1, 2]),
    "skip_if_unchanged": False,  # every run repeats the one before
    "promotion": SHIPPED.promotion.model_copy(update={"on_refused": "skip"}),
}

with DAG("sweep", schedule=None, default_args=DEFAULT_ARGS):
    tuning_pipeline(SHIPPED.model_copy(update=CHANGES), base_dir=PROJECT_DIR)
