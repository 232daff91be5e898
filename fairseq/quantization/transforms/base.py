"""What a transform is, and how one is built from its text.

    value = undo(Q(apply(x)))          rotations: undo is the transpose
    value = Q(apply(x))                any other

Both operands of a product that are rotated alike give the product of the rotated operands, because the rotation is
orthogonal: (Q(xH) H^T) (Q(wH) H^T)^T = Q(xH) Q(wH)^T. So each quantizer rotates on its own, whatever the others do, and
gradients come back through the same rotation.

A new transform is one file in this folder; its text is its name with settings behind colons, `hadamard:32:random`.

>>> import torch
>>> hadamard = build_transform("hadamard:4")
>>> hadamard.apply(torch.tensor([1.0, 0.0, 0.0, 0.0]), seed=0)
tensor([0.5000, 0.5000, 0.5000, 0.5000])
>>> build_transform("none") is None
True
"""

from typing import ClassVar, Optional

from torch import Tensor

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.registry import Registry


class Transform:
    """One way of changing a tensor before it is rounded.

    Args:
        settings: what stands behind its name, at the colons.
        where: the quantizer's path, for messages.

    Attributes:
        is_rotation: `undo` brings values back; the gradient of rounding straight through is then 1.
        roles: of the tensors that it is for.
        is_random: `apply` depends on the seed.
    """

    is_rotation: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]] = ("weight", "activation", "gradient")
    is_random: bool = False

    def __init__(self, settings: list[str], where: str):
        if settings:
            raise ConfigError(f"{where}: this transform takes no settings, got {':'.join(settings)!r}")

    def apply(self, x: Tensor, seed: int) -> Tensor:
        """What is rounded in place of `x` (..., K); differentiable."""
        raise NotImplementedError

    def undo(self, y: Tensor, width: int, seed: int) -> Tensor:
        """Rounded values (..., width) from what was made of `apply`'s result; differentiable."""
        return y


TRANSFORMS: Registry[type[Transform]] = Registry("transform", __name__.rpartition(".")[0])


def build_transform(text: str, where: str = "transform") -> Optional[Transform]:
    """The transform of that text, None for `none`; ConfigError for one that is not there."""
    name, *settings = str(text).split(":")
    if name == "none" and not settings:
        return None
    if name not in TRANSFORMS:
        raise ConfigError(unknown("transform", name, ("none", *TRANSFORMS.names()), where=where))
    return TRANSFORMS.lookup(name)(settings, where)
