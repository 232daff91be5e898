"""Typed configuration: one dataclass per group, read from YAML and from the command line. Imports no torch."""

from fairseq.dataclass.base import ChoiceEnum, FairseqDataclass

__all__ = ["ChoiceEnum", "FairseqDataclass"]
