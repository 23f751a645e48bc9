"""### Go back to the previous model.

Runs the smoke test on the previous model and puts that model into use again. Start it with **Trigger** when a new model
is worse than its evaluation said; it has no schedule. The last task links to a report.

The model taken out of use gets the alias `rolled-back` in the Model Registry. It is not promoted again until you remove
this alias. A rollback goes back one step: there is no previous model until the next promotion. The rollback updates the
asset of the model; its event says `rolled back`.
"""

from __future__ import annotations

from airflow.sdk import DAG, Asset, chain
from vertex_tuning.config.default_args import DEFAULT_ARGS
from vertex_tuning.config.loader import Tuning, build_tunings, project_folder
from vertex_tuning.config.params import known_keys_only
from vertex_tuning.config.tuning_folders import tuning_folders
from vertex_tuning.operators.registry import FindPreviousOperator, RollbackOperator
from vertex_tuning.operators.report import ROLLBACK_TASKS, WriteReportOperator, keep_error
from vertex_tuning.operators.smoke_test import SmokeTestOperator


def rollback_dag(tuning: Tuning) -> DAG:
    """The way back of one tuning."""
    models = {"tuning": tuning.name, "champion_alias": tuning.promotion.champion_alias, "location": tuning.location}
    with DAG(
        dag_id=f"rollback_{tuning.name}",
        description=f"Puts the previous model of {tuning.name} into use again.",
        doc_md=__doc__,
        schedule=None,
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,  # nothing starts it but a person, in a hurry
        default_args={**DEFAULT_ARGS, "on_failure_callback": keep_error},
        tags=["vertex-ai", "tuning"],
        auto_register=False,  # check_tunings.py runs this file, too
    ) as dag:
        find = FindPreviousOperator(task_id="find_previous", pre_execute=known_keys_only(()), **models)
        test = SmokeTestOperator(
            task_id="smoke_test",
            endpoint=find.output["previous_endpoint"],
            cases=tuning.smoke_test.asked(),
            min_pass_share=tuning.smoke_test.min_pass_share,
            location=tuning.location,
        )
        roll_back = RollbackOperator(
            task_id="roll_back",
            model=find.output["previous_model"],
            expected_champion=find.output["champion"],
            outlets=[Asset(f"{tuning.name}_model")],
            **models,
        )
        report = WriteReportOperator(
            task_id="write_report",
            refused_folder=f"gs://{tuning.bucket}/datasets/rollbacks",
            title=tuning.name,
            tasks=ROLLBACK_TASKS,
            location=tuning.location,
        )
        chain(find, test, roll_back, report.as_teardown())
    return dag


dags, mistakes = build_tunings(tuning_folders(project_folder(__file__)), rollback_dag)
globals().update({dag.dag_id: dag for dag in dags.values()})
