"""Which products run on integer codes: `compute: auto` becomes `integer` or `simulate` before any layer is made.

    specs, notes = resolve_compute(products, specs)

A product runs on codes where both operands' settings say so. Where one says `auto`, the faster choice on this machine
is taken (`latency_cache.py`), and simulation where other settings do not allow codes. A product with a format that has
no integer kernel is simulated in any case. The plan has a note where `compute` is not what was asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fairseq.quantization.plan.latency_cache import latencies
from fairseq.quantization.plan.table import BY_AUTO, NO_KERNEL, NOT_ALONE
from fairseq.quantization.plan.targets import Product
from fairseq.quantization.products.obstacles import obstacle, refuse_obstacle, without_kernel
from fairseq.quantization.spec import ACTIVATION, WEIGHT, QuantizerSpec


def resolve_compute(
    products: Iterable[Product], specs: Mapping[str, QuantizerSpec]
) -> tuple[dict[str, QuantizerSpec], dict[str, str]]:
    """`specs` without `auto`; and notes for quantizers whose `compute` is not what was asked for, or was chosen.

    Args:
        products: those of all layers that will be quantized; other quantizers simulate.
        specs: settings by quantizer path.

    Raises:
        ConfigError: integers are asked for, and other settings do not allow them.
    """
    resolved = dict(specs)
    chosen = frozenset(path for path, spec in specs.items() if spec.compute == "auto")
    notes = dict.fromkeys(chosen, BY_AUTO)
    for product in products:
        operands = specs[product.left], specs[product.right]
        asked = {spec.compute for spec in operands}
        paths = product.left, product.right, product.grad
        if all(specs[path].compute == "simulate" for path in paths):
            continue
        formats = asked == {"integer"} and without_kernel(*((path, specs[path]) for path in paths))
        if formats or not product.has_kernel:
            note, compute = NO_KERNEL, "simulate"
        else:
            note, compute = NOT_ALONE, "integer" if _multiplies_codes(product, specs, asked) else "simulate"
        for path in paths:
            if specs[path].compute == "auto":
                resolved[path] = replace(specs[path], compute=compute)
            elif specs[path].compute == "integer" and compute == "simulate":
                resolved[path], notes[path] = replace(specs[path], compute="simulate"), note
    for path in chosen:
        if resolved[path].compute == "auto":
            resolved[path] = replace(specs[path], compute="simulate")
    return resolved, notes


def _multiplies_codes(product: Product, specs: Mapping[str, QuantizerSpec], asked: set[str]) -> bool:
    if "simulate" in asked:
        return False
    right_role = ACTIVATION if product.weight_shape is None else WEIGHT
    for path, role in ((product.left, ACTIVATION), (product.right, right_role)):
        specs[path].check(path, role)
    left, right, grad = ((path, specs[path]) for path in (product.left, product.right, product.grad))
    reason = obstacle(left, right, grad, right_role)
    if "auto" not in asked:
        refuse_obstacle(product.path, reason)
        return True
    if reason is not None:
        return False
    if product.weight_shape is not None:
        return latencies().prefers_integers(product.weight_shape)
    return product.heads is not None and latencies().prefers_integer_attention(*product.heads)
