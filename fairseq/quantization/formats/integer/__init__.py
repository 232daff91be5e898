"""Integer formats: evenly spaced levels."""
