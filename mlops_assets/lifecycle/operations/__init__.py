"""How what serves is watched: limits, canaries, aliases, drills."""
