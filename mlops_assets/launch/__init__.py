"""What runs while the platform is up: the Dagster UI, its daemon and the REST API, started, probed and stopped."""
