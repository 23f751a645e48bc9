"""Local Google Cloud, demo and data of the project."""
