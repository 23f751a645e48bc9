"""What people write: the YAML file of a tuning, the form of a run, and the checks of both at parse time."""
