"""Voids over time: which of them are one empty place, when somebody should know, and when it is refilled."""
