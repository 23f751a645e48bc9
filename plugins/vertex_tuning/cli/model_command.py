"""`vertex-tuning model`: show the model in use of a tuning."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from vertex_tuning.cli.check_command import Commands
    from vertex_tuning.config.tuning import Tuning


def add_model_command(commands: Commands) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "model",
        help="show the model in use of a tuning",
        description="Show the model in use of a tuning: version, endpoint, and since when.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the tuning")
    parser.add_argument("--location", help="region of the model; that of the tuning file if not given")
    parser.add_argument("--gcp-conn-id", default="google_cloud_default", metavar="ID", help="Airflow connection")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_show_model)


def _show_model(arguments: argparse.Namespace) -> int:
    # Lets Airflow's SDK read connections and variables from the metadata database outside of a task, too.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    from vertex_tuning.exceptions import TuningError

    try:
        found = model_in_use(arguments.name, arguments.location, arguments.gcp_conn_id)
    except TuningError as error:
        print(error, file=sys.stderr)
        return 1
    if found is None:
        print(f"{arguments.name}: found no model in use.", file=sys.stderr)
        return 1
    if note := found["retirement"]:
        print(f"Warning: {note}", file=sys.stderr)
    print(
        json.dumps(found)
        if arguments.json
        else "\n".join(f"{field:<9}{value}" for field, value in found.items() if field != "retirement")
    )
    return 0


def model_in_use(name: str, location: str | None, gcp_conn_id: str) -> dict[str, str] | None:
    """The model in use of a tuning: version, endpoint, last change (e.g. its promotion), creation and base model.

    `retirement` has a warning if Google retires the base model soon. The tuned model retires with it.

    :param name: name of the tuning
    :param location: region of the model; that of the tuning's file if not given
    :param gcp_conn_id: Airflow connection to Google Cloud
    :returns: None if no model is in use
    :raises TuningError: the region is not known, or the Model Registry does not say which model is in use
    """
    from vertex_tuning.config.base_models import retirement_note
    from vertex_tuning.hooks.connection import GoogleConnection
    from vertex_tuning.hooks.model_registry import RegistryHook
    from vertex_tuning.registry.aliases import BASE_MODEL_LABEL, CHAMPION
    from vertex_tuning.registry.promotion import ModelAliases

    tuning = tuning_of_file(name)
    alias = tuning.promotion.champion_alias if tuning else CHAMPION
    region = location or region_of_tuning(name, tuning)
    registry = RegistryHook(GoogleConnection(location=region, gcp_conn_id=gcp_conn_id))
    champion = ModelAliases(registry, name, alias).current().champion
    if champion is None:
        return None
    since = champion.updated or champion.created
    return {
        "model": champion.name,
        "endpoint": registry.endpoint_of(champion),
        "since": since.isoformat(timespec="seconds"),
        "created": champion.created.isoformat(timespec="seconds"),
        "base": (base := champion.labels.get(BASE_MODEL_LABEL, "")),
        "retirement": retirement_note(base),
    }


def tuning_of_file(name: str) -> Tuning | None:
    """The tuning of a file in the project's folders; None for a tuning in Python."""
    from vertex_tuning.config.loader import load_tunings
    from vertex_tuning.config.tuning_folders import tuning_folders

    tunings, _ = load_tunings(*tuning_folders(Path.cwd()))
    return next((tuning for tuning in tunings if tuning.name == name), None)


def region_of_tuning(name: str, tuning: Tuning | None) -> str:
    """The region in a tuning's file, rendered with Airflow's variables.

    :raises ConfigurationError: there is no such file, or the template cannot be rendered here
    """
    return field_of_tuning(name, tuning, "location", "name the region: --location us-central1")


def field_of_tuning(name: str, tuning: Tuning | None, field: Literal["location", "bucket"], advice: str) -> str:
    """A field in a tuning's file, rendered with Airflow's variables.

    :param advice: how to give the value on the command line, for the error message
    :raises ConfigurationError: there is no such file, or the template cannot be rendered here
    """
    from vertex_tuning.config.variables import render_with_variables
    from vertex_tuning.exceptions import ConfigurationError

    if tuning is None:
        raise ConfigurationError(
            f"{name}: found no such tuning in include/tunings, expected one. Run this in the project's folder, or "
            f"{advice}"
        )
    try:
        return render_with_variables(str(getattr(tuning, field)), f"{name}: {field}")
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} {advice[:1].upper()}{advice[1:]}") from error
