"""Tools that read a checkpoint and write something else: packed checkpoints, quantization reports."""
