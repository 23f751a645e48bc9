"""Cost of a tuning job: token estimates, the price table and recommended hyper-parameters. Pure."""
