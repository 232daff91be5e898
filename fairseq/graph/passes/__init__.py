"""Passes: changes of a model, each from a graph and options to a new graph and a result.

The model's own modules are changed and the model is traced again, so that it is trained and saved as before. A pass of
one's own is registered by a decorator (`registry.py`).
"""
