"""The file that drives `fairseq-graph transform`: read as TOML or YAML, checked against one schema."""
