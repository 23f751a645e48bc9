"""The model in use, from any Python program without Airflow: alias → endpoint → response.

python model_in_use.py my-project us-central1 support_triage "Where is my parcel?"
"""

from __future__ import annotations

import sys

from google import genai  # noqa: TID253 - no DAG file
from google.cloud.aiplatform_v1 import ModelServiceClient  # noqa: TID253 - no DAG file


def find_endpoint(models: ModelServiceClient, parent: str, tuning: str) -> str:
    """The endpoint of the model with the alias `champion`.

    :param parent: `projects/…/locations/…`
    """
    for model in models.list_models({"parent": parent, "filter": f"labels.airflow-tuning={tuning}"}):
        for version in models.list_model_versions(name=model.name):
            if "champion" in version.version_aliases:
                return str(version.deployed_models[0].endpoint)
    raise LookupError(f"{tuning}: found no model with the alias champion in {parent}.")


if __name__ == "__main__":
    project, location, tuning, prompt = sys.argv[1:]
    api = f"{location}-aiplatform.googleapis.com"
    registry = ModelServiceClient(transport="rest", client_options={"api_endpoint": api})
    endpoint = find_endpoint(registry, f"projects/{project}/locations/{location}", tuning)
    # Some tuned models are served from another location than they are tuned in.
    client = genai.Client(vertexai=True, project=project, location=endpoint.split("/")[3])
    print(client.models.generate_content(model=endpoint, contents=prompt).text)
