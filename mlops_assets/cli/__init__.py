"""The command line: `mlops`, a door to the same functions that Dagster and the REST API use."""
