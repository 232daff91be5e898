"""Sequences from models: beam search and its relatives, constraints, ensembles, scoring.

Public names are where fairseq has them: `fairseq.sequence_generator`, `fairseq.search`, `fairseq.sequence_scorer`,
`fairseq.token_generation_constraints`, `fairseq.ngram_repeat_block`.
"""
