"""`mobilenet_v2`: inverted residual blocks with depthwise convolutions (Sandler et al. 2018, table 2).

The first convolution and the first stride of 2 keep the size, so that 32 x 32 images end as 4 x 4; the net of the
paper, for 224 x 224, would shrink them to one pixel, and is what `large_images` gives. Names in the
state dict are torchvision's.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.base import option
from fairseq.dataclass.ranges import above, below_one
from fairseq.models import BaseFairseqModel, register_model

# expansion factor, channels, blocks, stride of the first of them
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
STEM, LAST = 32, 1280  # channels of the first and the last convolution


def scaled(channels: int, width_mult: float) -> int:
    """`channels` times the width multiplier, as the nearest multiple of 8 that loses no tenth.

    >>> scaled(32, 1.0), scaled(24, 0.5), scaled(16, 0.35)
    (32, 16, 8)
    """
    exact = channels * width_mult
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6; odd kernels keep the size where the stride is 1."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Expand, depthwise 3 x 3, project without activation; the input is added where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int):
        super().__init__()
        width = inputs * expand
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *([convolution(inputs, width, 1)] if expand != 1 else []),
            convolution(width, width, 3, stride, groups=width),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


@dataclass
class MobileNetV2Config(FairseqDataclass):
    """`model=mobilenet_v2`."""

    width_mult: float = option(1.0, "channels of the paper times this", within=above(0))
    large_images: bool = option(False, "halve the size five times, as in the paper, for images of about 224 x 224")
    dropout: float = option(0.2, "dropout before the last layer", within=below_one())


@register_model("mobilenet_v2", dataclass=MobileNetV2Config)
class MobileNetV2(BaseFairseqModel):
    """Images (B, in_channels, H, W) to scores (B, num_classes)."""

    def __init__(
        self,
        width_mult: float = 1.0,
        large_images: bool = False,
        dropout: float = 0.2,
        in_channels: int = 3,
        num_classes: int = 10,
    ):
        super().__init__()
        channels = scaled(STEM, width_mult)
        layers: list[nn.Module] = [convolution(in_channels, channels, 3, stride=2 if large_images else 1)]
        for number, (expand, width, blocks, stride) in enumerate(STAGES):
            outputs = scaled(width, width_mult)
            for block in range(blocks):
                first = stride if block == 0 and (large_images or number != 1) else 1
                layers.append(InvertedResidual(channels, outputs, first, expand))
                channels = outputs
        last = scaled(LAST, max(1.0, width_mult))  # a narrow net keeps its last features
        layers.append(convolution(channels, last, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.apply(initialize)

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "MobileNetV2":
        return cls(cfg.width_mult, cfg.large_images, cfg.dropout, task.channels, task.cfg.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean(dim=(2, 3)))  # (B, C, H, W) -> (B, C) -> (B, classes)


def initialize(module: nn.Module) -> None:
    """He et al. 2015 for convolutions, small numbers for the last layer."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
