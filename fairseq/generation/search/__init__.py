"""Search strategies: which hypotheses to go on with, given the next words' log-probabilities.

`SequenceGenerator` calls `step` once per position. B: sentences, K: hypotheses of each, V: words, C: candidates.
"""

from fairseq.generation.search.base import Search
from fairseq.generation.search.beam import BeamSearch, LengthConstrainedBeamSearch, PrefixConstrainedBeamSearch
from fairseq.generation.search.diverse import DiverseBeamSearch, DiverseSiblingsSearch
from fairseq.generation.search.lexical import LexicallyConstrainedBeamSearch
from fairseq.generation.search.sampling import Sampling

__all__ = [
    "BeamSearch",
    "DiverseBeamSearch",
    "DiverseSiblingsSearch",
    "LengthConstrainedBeamSearch",
    "LexicallyConstrainedBeamSearch",
    "PrefixConstrainedBeamSearch",
    "Sampling",
    "Search",
]
