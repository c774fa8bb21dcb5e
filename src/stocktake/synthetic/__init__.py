"""Draws shelves and bins whose truth is known, in the formats of the real data sets."""
