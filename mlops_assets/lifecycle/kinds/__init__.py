"""The kinds of model that there are."""
