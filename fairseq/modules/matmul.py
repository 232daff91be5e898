"""A matrix product of two activations, as a module: something that has a path, can be hooked and can be replaced.

Attention owns two of them, QK^T and PV; `quantize_model` puts a `QMatmul` in their place.

>>> MatMul()(torch.ones(1, 2, 3), torch.ones(1, 3, 2)).sum()
tensor(12.)
"""

import torch  # noqa: F401  (for the example above)

from fairseq.quantization.layers.matmul import MatMul

__all__ = ["MatMul"]
