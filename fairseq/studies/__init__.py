"""Studies over many runs: records of runs, tables and plots."""
