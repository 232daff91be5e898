"""Range observers: from a tensor to the interval that its levels cover. One file each; `OBSERVERS` finds them."""

from fairseq.quantization.observers.base import OBSERVERS, Observer, Range, Request

__all__ = ["OBSERVERS", "Observer", "Range", "Request"]
