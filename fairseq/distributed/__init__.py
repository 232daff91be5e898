"""Data-parallel training: process groups, collectives, and starting the processes."""
