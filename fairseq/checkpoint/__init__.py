"""What is behind `fairseq.checkpoint_utils`: reading files safely, writing them atomically, their layout and their
names.
"""
