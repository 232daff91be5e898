"""`conv_net`: 3 x 3 convolutions with batch norm and ReLU, the mean over all places, a linear layer.

The first convolution keeps the size of the image, each further one halves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, List

from torch import Tensor, nn

from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.base import option
from fairseq.dataclass.ranges import at_least
from fairseq.models import BaseFairseqModel, register_model


@dataclass
class ConvNetConfig(FairseqDataclass):
    """`model=conv_net`."""

    conv_channels: List[int] = option([16, 32, 64], "channels of each convolution", within=at_least(1))


@register_model("conv_net", dataclass=ConvNetConfig)
class ConvNet(BaseFairseqModel):
    """Images (B, in_channels, H, W) to scores (B, num_classes)."""

    def __init__(self, conv_channels: Sequence[int] = (16, 32, 64), in_channels: int = 3, num_classes: int = 10):
        super().__init__()
        layers: list[nn.Module] = []
        for index, channels in enumerate(conv_channels):
            stride = 1 if index == 0 else 2
            layers += [nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            in_channels = channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(in_channels, num_classes)

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "ConvNet":
        return cls(cfg.conv_channels, task.channels, task.cfg.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).mean(dim=(2, 3)))  # (B, C, H, W) -> (B, C) -> (B, classes)
