"""Formats whose levels are a list: unevenly spaced, or too few for evenly spaced codes."""
