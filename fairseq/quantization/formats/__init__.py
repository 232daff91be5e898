"""Number formats: what codes mean. One class and one file each; `FORMATS` finds them."""

from fairseq.quantization.formats.base import FORMATS, NumberFormat, QParams, build_format

__all__ = ["FORMATS", "NumberFormat", "QParams", "build_format"]
