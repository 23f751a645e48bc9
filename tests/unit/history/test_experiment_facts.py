"""What an experiment shows of a run."""

from __future__ import annotations

import math

from vertex_tuning.history.experiment_facts import MEASURED_VALUES_KEPT, experiment_params, experiment_values
from vertex_tuning.history.record_builder import build_record
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.report.build import build
from vertex_tuning.report.material import Material

from tests.support import report_samples as samples


def record_of(given: Material) -> RunRecord:
    return build_record(given, build(given), tuning="support_triage", key="0" * 16)


def test_a_run_has_parameters_values_and_verdict() -> None:
    given = samples.compared()
    record = record_of(given)
    params, values = experiment_params(record, "production"), experiment_values(given, record)
    assert params["dataset_hash"] == "9f2c" * 16
    assert (params["epochs"], params["adapter_size"], params["deployment"]) == (4, 16, "production")
    assert values["verdict"] == "undecided"
    assert values["sample.exact_share"] == 0.85
    assert (values["champion.sample.exact_share"], values["baseline.sample.exact_share"]) == (0.9, 0.0)
    assert values["gain_lower"] == -0.0836
    assert values["eval_total_loss.last"] == 0.51


def test_what_is_not_known_is_left_out_and_numbers_are_finite() -> None:
    given = samples.material()
    assert given.metrics
    given.metrics.values.update({"nan": math.nan, "inf": math.inf})
    given.metrics.values.update({f"value.{number}": 1.0 for number in range(999)})
    values = experiment_values(given, record_of(given))
    assert not {"nan", "inf"} & values.keys()
    assert len(values) <= MEASURED_VALUES_KEPT + 10
    nothing = samples.nothing()
    assert experiment_values(nothing, record_of(nothing)) == {"verdict": "failed"}
    assert experiment_params(record_of(nothing), "d").keys() == {"dag_id", "run_id", "deployment"}
