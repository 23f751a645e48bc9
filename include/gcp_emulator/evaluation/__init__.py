"""Scores of responses: metrics that are computed, and a judge that counts common words."""
