"""Register the page *Tunings* in Airflow.

Every Airflow process imports this module, also each task, so it imports no application. Only the API server reads
`fastapi_apps`, and only then the application is imported.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from vertex_tuning.ui.addresses import PAGE, URL_PREFIX


class TuningsPlugin(AirflowPlugin):
    """The page *Tunings*.

    Airflow shows an external view in an iframe whose `sandbox` forbids top-level navigation and new windows. All links
    from there to runs, forms and the Cloud console would be dead. A `react_apps` entry has no sandbox: its small module
    shows the server's page in another iframe.
    """

    name = "vertex_tuning"
    react_apps: list[Any] = [
        {
            "name": "Tunings",
            "bundle_url": f"{URL_PREFIX.removeprefix('/')}/static/tunings.js",
            "destination": "nav",
            "url_route": PAGE,
        }
    ]

    @property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        from vertex_tuning.ui.app import create_tunings_app

        return [{"app": create_tunings_app(), "url_prefix": URL_PREFIX, "name": "Tunings"}]
