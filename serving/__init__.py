"""Processes that answer requests."""
