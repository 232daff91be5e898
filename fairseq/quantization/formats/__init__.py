"""Number formats: what codes mean. One class and one file each; `FORMATS` finds them."""

from fairseq.quantization.formats.base import FORMATS, FormatSpec, NumberFormat, QParams, build_format, format_text

__all__ = ["FORMATS", "FormatSpec", "NumberFormat", "QParams", "build_format", "format_text"]
