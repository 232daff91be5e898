"""fairseq: train, evaluate and ship transformers at any precision, with fairseq's commands, configs and checkpoints."""

__version__ = "1.0.0.dev0"
