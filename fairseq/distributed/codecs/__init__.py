"""Codecs: tensors as short messages, for links that are slow.

    codec("group:4,64")             4 bits and 32 bits for each 64 neighbours; ",sr" rounds stochastically
    codec("tensor:8")               one range for the whole tensor
    codec("quantile:2,6")           4 parts of equal mass with 64 levels each; "quantile:parts=5,6" for 5 of them
    codec("topk:0.5+group:8,64")    the half with the largest magnitudes, and a bit for each value that says which
    codec("hadamard+group:4,64")    rotated, so that outliers spread over their neighbours
    codec("lowrank:8")              a product of two thin matrices
    codec("delta:2,64")             what changed since the sample was seen last
    codec("mxfp4"), codec("bf16")   a block format of `fairseq.quantization`; floating point; "raw" is fp32

A message is a flat uint8 tensor whose size follows from the shape. A new codec is one file in this folder.

>>> import torch
>>> c, x = codec("group:8,64"), torch.randn(16, 64)
>>> message = c.encode(x)
>>> message.dtype, message.numel() == c.size(x.shape)
(torch.uint8, True)
>>> float((c.decode(message, x.shape, x.dtype) - x).norm() / x.norm()) < 0.01
True
"""

from fairseq.distributed.codecs.base import CODECS, Codec, codec

__all__ = ["CODECS", "Codec", "codec"]
