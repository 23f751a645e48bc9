"""Kills parts of a running stack at random and counts what became of the tuning jobs."""
