"""How a version comes to serve: checklist, states, moves."""
