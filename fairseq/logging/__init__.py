"""What a run reports: meters, the aggregators they are gathered in, progress bars, and the run's history on disk."""
