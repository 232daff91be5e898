"""Data of many languages: their tokens, and mixing data sets by how often each shall be seen."""
