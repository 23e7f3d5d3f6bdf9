"""Copies of the lifecycle's metadata in other systems."""
