"""Tasks of this plugin."""
