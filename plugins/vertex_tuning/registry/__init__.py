"""Aliases of the Model Registry: which model is in use, promotion and rollback. Pure."""
