"""Datasets: reading, checking, measuring, converting, splitting and placing them.

`dataset.prepare` is the way in; `row_rules`, `set_rules` and `limits` hold what is checked. `sources` and `placing`
know where data comes from and goes to; all others are pure.
"""
