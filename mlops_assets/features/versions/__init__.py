"""Which versions of a view there are, which one a change demands, and which one is computed."""
