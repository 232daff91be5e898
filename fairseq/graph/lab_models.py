"""The nets of the labs by their names: multilayer perceptrons that classify jets, of 16 features and 5 classes.

    jsc-tiny   BN - ReLU - Linear(16, 5) - ReLU
    jsc-toy    BN - ReLU - Linear(16, 8) - BN - ReLU - Linear(8, 8) - BN - ReLU - Linear(8, 5) - BN - ReLU
    jsc-s      the same with hidden layers of 64, 32, 32, 32 (JSC-S of Umuroglu et al. 2020, "LogicNets")

>>> sum(parameter.numel() for parameter in build("jsc-tiny").parameters())
117
"""

from itertools import pairwise

from torch import nn

from fairseq.graph.inputs import KNOWN

SIZES = {"jsc-tiny": (16, 5), "jsc-toy": (16, 8, 8, 5), "jsc-s": (16, 64, 32, 32, 32, 5)}
INPUTS = ("input:float32[8,16]",)


def build(name: str) -> nn.Module:
    """The net called `name`, with new weights."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(SIZES[name]):
        layers += [nn.BatchNorm1d(inputs), nn.ReLU(), nn.Linear(inputs, outputs)]
    if name != "jsc-tiny":
        layers.append(nn.BatchNorm1d(SIZES[name][-1]))
    model = nn.Sequential(*layers, nn.ReLU())
    setattr(model, KNOWN, INPUTS)
    return model
