"""What an alert says, and when seeing the same thing again is none."""
