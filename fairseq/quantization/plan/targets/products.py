"""Linear products as plans name them: their quantizers, and what they multiply without quantizers.

>>> linear_product("fc1", (8, 4)).weight_shape, list(linear_quantizers("fc1"))
((8, 4), ['weight', 'input', 'grad_output', 'output'])
"""

from torch import Tensor

from fairseq.quantization.plan.target import Product, UnquantizedProduct
from fairseq.quantization.products.weighted import NAMED_ROLES, PRODUCT_ROLES


def linear_quantizers(path: str, has_bias: bool = False) -> dict[str, tuple[str, str]]:
    """Quantizers of a product with a weight at `path`."""
    roles = {**PRODUCT_ROLES, **NAMED_ROLES}
    if not has_bias:
        del roles["bias"]
    return {key: (f"{path}.{key}".lstrip("."), role) for key, role in roles.items()}


def linear_product(path: str, shape: tuple[int, int]) -> Product:
    """The product at `path` with a weight of `shape` (out, in)."""
    quantizers = linear_quantizers(path)
    paths = {key: quantizer for key, (quantizer, _) in quantizers.items()}
    return Product(path, paths["input"], paths["weight"], paths["grad_output"], weight_shape=shape)


def unquantized_linear(x: Tensor, weight: Tensor, output: Tensor) -> UnquantizedProduct:
    """`x @ weight^T`, which has given `output`."""
    return UnquantizedProduct(x, weight, output.numel() * x.shape[-1])
