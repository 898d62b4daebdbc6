"""Notebooks as batch jobs: one, all of them, or a whole grid of parameters."""
