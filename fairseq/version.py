"""The version, where fairseq users import it from."""

from fairseq import __version__

__all__ = ["__version__"]
