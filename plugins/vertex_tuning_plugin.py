"""The only plugin file of this folder: Airflow imports it in each of its processes."""

from vertex_tuning.ui.airflow_plugin import TuningsPlugin

__all__ = ["TuningsPlugin"]
