"""The parts of training behind `fairseq.trainer.Trainer`: which parameters train, precision, stepping, statistics,
the loop.
"""
