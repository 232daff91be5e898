"""Block formats: neighbours along a contraction share a scale that the format itself finds."""
