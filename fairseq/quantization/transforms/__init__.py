"""What is done to a tensor before it is rounded, and undone behind: rotations, and standardizing."""

from fairseq.quantization.transforms.base import TRANSFORMS, Transform, build_transform

__all__ = ["TRANSFORMS", "Transform", "build_transform"]
