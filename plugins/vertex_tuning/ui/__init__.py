"""The page *Tunings* in Airflow's UI: one card per tuning, and a page with the history of each.

`airflow_plugin` registers it. `access` decides who sees what. `state_reader` reads the state from Google and from
Airflow's database, `background_cache` keeps it. `cards` and `tuning_page` choose what is shown, the templates show it.
"""
