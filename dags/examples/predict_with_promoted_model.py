"""Send prompts to the new model after each promotion and each rollback.

The event of the asset `support_triage_model` has the model and its endpoint. If you start this DAG by hand, the newest
event counts.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, Param, task

MODEL = Asset("support_triage_model")

with DAG(
    "example_predict_with_promoted_model",
    schedule=[MODEL],
    doc_md=__doc__,
    params={
        "prompts": Param(["Where is my parcel?", "I was charged twice."], type="array", items={"type": "string"}),
        "system_instruction": Param("Answer with one label.", type="string"),
    },
    tags=["example"],
) as dag:

    @task(inlets=[MODEL])
    def predict(params: Any = None, inlet_events: Any = None) -> dict[str, Any]:
        """The model and its responses, by prompt."""
        from vertex_tuning.hooks.connection import GoogleConnection
        from vertex_tuning.hooks.genai import VertexTuningHook

        promoted = inlet_events[MODEL][-1].extra
        endpoint = promoted["endpoint"]
        hook = VertexTuningHook(GoogleConnection(location=endpoint.split("/")[3]))
        settings = {"temperature": 0, "system_instruction": params["system_instruction"]}
        responses = {
            prompt: hook.generate(endpoint, [{"role": "user", "parts": [{"text": prompt}]}], settings).text
            for prompt in params["prompts"]
        }
        return {"model": promoted["model"], "responses": responses}

    predict()
