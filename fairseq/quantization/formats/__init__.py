"""Number formats: what codes mean. One class and one file each; `FORMATS` finds them."""

from fairseq.quantization.formats.base import FORMATS, Grid, NumberFormat

__all__ = ["FORMATS", "Grid", "NumberFormat"]
