"""A Dagster data-asset platform for the MLOps of a trading product."""
