"""What a tuning job costs: token estimates, the price table and recommended hyper-parameters. Pure."""
