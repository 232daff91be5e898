"""Models of this plugin."""
