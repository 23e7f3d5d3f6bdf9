"""How a model is trained, judged, searched, compared and trained again."""
