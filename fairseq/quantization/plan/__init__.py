"""What is asked for (config, presets, rules) and what it resolves to (targets, specs, the table, the compute)."""
