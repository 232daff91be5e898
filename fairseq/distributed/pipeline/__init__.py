"""Layers of one model in several processes, which send each other activations and gradients as short messages."""
