"""Datasets: reading, checking, measuring, converting, splitting and publishing.

`prepare` is the entry point. `row_rules`, `dataset_rules` and `limits` contain the checks. `sources` reads from storage
and `publish` writes to it; the other modules are pure.
"""
