"""Integer weights: codes and scales in memory, and no floating-point copy beside them.

    keep_integer_weights(model)         each weight that a quantizer rounds becomes its codes, at the evaluation bits
    restore_float_weights(model)        and back: parameters with the values of the codes

Scores are those of the model before, bit for bit: the codes are the ones that the quantizers make. Simulated products
decode a weight for the length of a call; integer products take 8-bit codes, to which packed ones unfold at the first
call. Such a model evaluates at its bits only and cannot be trained. Its state dict holds the codes' values, under the
usual keys.

A weight that several modules share stays as it is: they would have to round it alike.

>>> from torch import nn
>>> from fairseq.quantization import quantize_model
>>> model = quantize_model(nn.Sequential(nn.Linear(64, 64, bias=False)), "int4", rules=[
...     {"match": "*.input", "quantize": False}]).eval()
>>> x, before = torch.randn(2, 64), parameter_bytes(model)
>>> y = model(x)
>>> _ = keep_integer_weights(model)
>>> torch.equal(model(x), y), before, parameter_bytes(model)       # 4 bits each, 64 scales, 20 for ranges
(True, 16404, 2324)
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import CheckpointError, ConfigError
from fairseq.quantization.formats import FormatSpec, format_text
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq.quantization.products.packed_weight import PackedWeight, pack_weight
from fairseq.quantization.products.weight_layout import WeightLayout
from fairseq.quantization.quantizer import Quantizer


class PackableWeight(NamedTuple):
    """A weight that a quantizer rounds: its key, the module that has it, its quantizer and the bits of evaluation."""

    key: str
    owner: Any  # its `quantizers` take integers in the place of its `weight`
    quantizer: Quantizer
    num_bits: int
    layout: Optional[WeightLayout] = None

    def pack(self) -> PackedWeight:
        """Its codes."""
        return pack_weight(self.quantizer, self.owner.weight, self.num_bits, self.layout)


def packable_weights(model: nn.Module) -> tuple[list[PackableWeight], list[str]]:
    """The weights of a quantized model that codes can stand for, and the keys of those that are shared."""
    num_bits = _evaluation_bits(model)
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    found, shared, rotated = [], [], []
    for target in find_targets(model):
        for quantizer, _ in target.weights() if target.keeps_codes else ():
            owner: Any = target.module
            bits, weight = quantizer.bits(num_bits), owner._parameters.get("weight")
            if bits is None or weight is None:  # in full precision; made from others, as under spectral norm
                continue
            key = f"{target.path}.weight".lstrip(".")
            if quantizer.transform is not None and quantizer.transform.is_rotation:
                rotated.append(key)
            elif uses[id(weight)] > 1 or getattr(owner, "max_norm", None) is not None:
                shared.append(key)
            else:
                found.append(PackableWeight(key, owner, quantizer, bits, target.layout()))
    if rotated:
        raise ConfigError(
            f"weight {rotated[0]} has no codes to be kept: it is rounded behind a rotation, and products take values"
        )
    return found, shared


def _evaluation_bits(model: nn.Module) -> Optional[int]:
    quantization: Any = model.quantization
    return quantization.config.eval_bits  # type: ignore[no-any-return]


def pack_weights(model: nn.Module) -> tuple[dict[str, PackedWeight], list[str]]:
    """Each weight of a quantized model that codes can stand for, packed, by key; and the keys of shared ones."""
    found, shared = packable_weights(model)
    return {held.key: held.pack() for held in found}, shared


def keep_integer_weights(model: nn.Module, packed: Optional[Mapping[str, PackedWeight]] = None) -> nn.Module:
    """Replace the weights of a quantized model by their codes, in place; returns the model, in evaluation mode.

    Args:
        packed: codes by key, which the weights of the model are the values of; made from the weights if None.

    Raises:
        CheckpointError: codes that are not those of the model's weights and quantizers.
        DataError: a weight with inf or NaN; nothing has been replaced.
    """
    model.eval()
    held = {found.key: found for found in packable_weights(model)[0]}
    if packed is not None:
        for key, codes in packed.items():
            _check_codes(key, codes, held.get(key))
    else:  # all of them before the first is replaced: a weight with NaN has no codes
        packed = {key: found.pack() for key, found in held.items()}
    for key, codes in packed.items():
        _replace_weight(held[key].owner, codes)
    return model


def _check_codes(key: str, packed: PackedWeight, held: Optional[PackableWeight]) -> None:
    """Raise where codes of a file are not what the model's quantizer would be given."""
    if held is None:
        raise CheckpointError(f"weight {key} is packed, and the model's quantization leaves it in full precision")
    settings = (packed.num_bits, packed.format, packed.granularity)
    wanted = (held.num_bits, held.quantizer.format.spec(), str(held.quantizer.granularity))
    if settings != wanted:
        raise CheckpointError(
            f"weight {key} is packed as {_words(settings)}, and the model's quantization asks for {_words(wanted)}; "
            "these settings cannot be changed any more, but in the checkpoint that was trained"
        )
    if packed.layout != held.layout:
        raise CheckpointError(f"weight {key} is not of the layer that was packed; load the file as it was written")
    if not torch.equal(held.owner.weight.detach().float(), packed.weight().to(held.owner.weight.device)):
        raise CheckpointError(f"weight {key} is not the one that was packed; load the file as it was written")


def _words(settings: tuple[int, FormatSpec, str]) -> str:
    return f"{settings[0]} bits {format_text(settings[1])} per {settings[2]}"


def _replace_weight(owner: Any, packed: PackedWeight) -> None:
    weight = owner.weight
    owner.quantizers.integers = QuantizedWeight(packed, weight.dtype).to(weight.device).eval()
    del owner._parameters["weight"]
    # with shape and type, but without contents: computing with it fails at once
    owner.weight = torch.empty(weight.shape, dtype=weight.dtype, device="meta")
    owner.integer_hooks = [
        owner.register_state_dict_post_hook(_save_values),
        owner.register_load_state_dict_pre_hook(_refuse_to_load),
    ]


def restore_float_weights(model: nn.Module) -> nn.Module:
    """Undo `keep_integer_weights`, in place: the weights have the values of their codes, and can be trained."""
    owner: Any
    for owner in model.modules():
        integers = getattr(getattr(owner, "quantizers", None), "integers", None)
        if isinstance(integers, QuantizedWeight):
            for hook in owner.integer_hooks:
                hook.remove()
            del owner.weight, owner.integer_hooks
            owner.weight = nn.Parameter(integers.weight().to(integers.dtype))
            owner.quantizers.integers = None
    return model


def _save_values(owner: Any, state_dict: Any, prefix: str, local_metadata: Any) -> None:
    integers: QuantizedWeight = owner.quantizers.integers
    state_dict[f"{prefix}weight"] = integers.weight().to(integers.dtype)


def _refuse_to_load(owner: Any, state_dict: Any, prefix: str, *others: Any) -> None:
    raise ConfigError(f"{prefix}weight is kept as integers: call restore_float_weights(model) before loading others")


def parameter_bytes(model: nn.Module) -> int:
    """What parameters and buffers take, each piece of memory once."""
    tensors: dict[int, Tensor] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
