"""Draws shelves whose truth is known, in the format of the real data set."""
