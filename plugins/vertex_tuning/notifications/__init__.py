"""Messages to people about the runs of a tuning."""
