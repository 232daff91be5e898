"""Predictions for lines of text, by a checkpoint that knows its tokenizer and its classes."""
