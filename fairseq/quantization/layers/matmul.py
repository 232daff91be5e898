"""Products of two activations: `MatMul`, which has a path and can be replaced, and `QMatmul`, which quantizes.

    y = Q(a) Q(b),   dL/da = Q(g) Q(b)^T,   dL/db = Q(a)^T Q(g),   g = dL/dy,   and Q(y) where a rule asks for it

Attention owns two: QK^T with the operands `query` and `key`, PV with `probs` and `value` and the output `output`. The
quantizers' paths are those names behind the path of the module that owns the product, `<attention>.query`; gradients
are `<attention>.qk_matmul.grad_output` and `<attention>.pv_matmul.grad_output`. Where two products of one module have a
name in common, as two of `MatMul()` have, operands are named behind the product: `<module>.<product>.left`.

`token` granularity means one range per vector that enters a dot product: rows of a, columns of b.

>>> product = QMatmul("query", "key")
>>> a, b = torch.randn(2, 3, 4), torch.randn(2, 4, 3)
>>> torch.equal(product(a, b), a @ b), product(a, b, num_bits=4).shape
(True, torch.Size([2, 3, 3]))
"""

from typing import Optional

import torch
from torch import Tensor, nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.cpt_specs import reference_spec
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.spec import ACTIVATION, GRADIENT


class MatMul(nn.Module):
    """`a @ b` for batches of matrices: (..., T, K), (..., K, S) -> (..., T, S).

    Args:
        left, right: names of the operands, for rules and plans.
        output: name of the result, if it may be quantized.
    """

    def __init__(self, left: str = "left", right: str = "right", output: Optional[str] = None):
        super().__init__()
        self.left, self.right, self.output = left, right, output

    def forward(self, a: Tensor, b: Tensor, num_bits: Optional[int] = None) -> Tensor:
        return torch.matmul(a, b)

    @property
    def names(self) -> set[str]:
        """Of the operands, and of the result if it may be quantized."""
        return {name for name in (self.left, self.right, self.output) if name is not None}

    def paths(self, path: str, behind: Optional[str] = None) -> dict[str, tuple[str, str]]:
        """Which quantizers a product at `path` has: left, right, grad_output, output -> (their path, role).

        Args:
            behind: the path that operands are named behind; the owner's if None.
        """
        owner = path.rpartition(".")[0] if behind is None else behind
        prefix = f"{owner}." if owner else ""
        found = {
            "left": (prefix + self.left, ACTIVATION),
            "right": (prefix + self.right, ACTIVATION),
            "grad_output": (f"{path}.grad_output".lstrip("."), GRADIENT),
        }
        if self.output is not None:
            found["result"] = (prefix + self.output, ACTIVATION)
        return found


class QMatmul(MatMul):
    """MatMul that takes `num_bits`.

    Args:
        left, right, output: as MatMul.
        num_grad_bits: bits of the gradient quantizer; None leaves gradients in full precision.
        quantizers: made for this product by `quantize_model`; CPT's reference semantics if None.
    """

    def __init__(
        self,
        left: str = "left",
        right: str = "right",
        output: Optional[str] = None,
        *,
        num_grad_bits: Optional[int] = 8,
        quantizers: Optional[MatMulQuantizers] = None,
    ):
        super().__init__(left, right, output)
        if quantizers is None:
            paths = self.paths("")
            specs = {key: reference_spec(role, num_grad_bits) for key, (_, role) in paths.items()}
            quantizers = MatMulQuantizers("", paths, specs, QuantizationContext())
        self.quantizers = quantizers

    def forward(self, a: Tensor, b: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """`a @ b`; `num_bits` are the bits of both where none are pinned (`context.py`)."""
        return self.quantizers(a, b, num_bits)  # type: ignore[no-any-return]
