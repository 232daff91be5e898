"""Search strategies; see `fairseq.generation.search`."""

from fairseq.generation.search import (
    BeamSearch,
    DiverseBeamSearch,
    DiverseSiblingsSearch,
    LengthConstrainedBeamSearch,
    LexicallyConstrainedBeamSearch,
    PrefixConstrainedBeamSearch,
    Sampling,
    Search,
)

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
