"""Compiled kernels: what the eager operations do, in one pass over memory."""
