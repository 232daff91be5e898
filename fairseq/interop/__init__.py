"""Checkpoints of other libraries: `import_encoder` and `export_encoder` for Hugging Face's encoders."""
