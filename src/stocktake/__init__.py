"""Find what is missing on a shelf or in a bin, from a photo."""
