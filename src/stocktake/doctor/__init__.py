"""Checks of a cluster and of this machine: what was found, and what to do about it. They change nothing."""
