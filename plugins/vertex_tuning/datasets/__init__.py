"""Datasets: reading, checking, measuring, converting, splitting and publishing.

`prepare` is the entry point. `row_rules`, `dataset_rules` and `limits` hold the checks. `sources` and `publish` read
from and write to storage; the other modules are pure.
"""
