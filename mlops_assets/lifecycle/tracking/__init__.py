"""MLflow: one run for each training, and who closes what was left open."""
