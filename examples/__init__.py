"""Workflows and task functions to read, run and copy."""
