"""Judging a new model: smoke-test cases, expectations, gates, the comparison with the model in use. Pure."""
