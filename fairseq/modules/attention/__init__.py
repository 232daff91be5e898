"""The parts of multi-head attention that need no parameters: shapes and scores, masks, incremental state."""
