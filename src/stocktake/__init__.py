"""Find what is missing on a shelf, from a photo."""
