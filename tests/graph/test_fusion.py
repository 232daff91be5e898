"""Batch norms that become part of the layer before them: torch's own fusion gives the same weights."""

import copy
import importlib

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from fairseq.errors import ConfigError
from fairseq.graph import fuse_conv_bn, insert_lora, prune, quantize, run_pass, trace
from fairseq.graph.masks import broken_masks, named_masks
from tests.examples.plugins import plugin
from tests.graph.models import MODELS, random

LAYERS = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, groups=2), nn.BatchNorm1d, (3, 4, 9)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, bias=False), nn.BatchNorm2d, (3, 4, 9, 8)),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 2, padding="same"), nn.BatchNorm3d, (2, 4, 5, 6, 7)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, bias=False), nn.BatchNorm1d, (3, 4, 9)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), nn.BatchNorm2d, (3, 4, 5, 6)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 6, 2), nn.BatchNorm3d, (2, 4, 4, 5, 6)),
    "Linear": (lambda: nn.Linear(4, 6), nn.BatchNorm1d, (5, 4)),
}


def stirred(model: nn.Module) -> nn.Module:
    """Statistics and weights of norms as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.1, 3, generator=generator)
            if module.weight is not None:
                module.weight.data.normal_(generator=generator)
                module.bias.data.normal_(generator=generator)
    return model.eval()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_those_of_torch(name: str, affine: bool) -> None:
    layer, norm, sizes = LAYERS[name]
    torch.manual_seed(0)
    model, x = stirred(nn.Sequential(layer(), norm(6, affine=affine), nn.ReLU())), random(*sizes)
    weight, expected = model[0].weight, model(x)
    if name == "Linear":  # whose function takes no norm without weights
        norm = copy.deepcopy(model[1])
        norm.weight, norm.bias = (
            (nn.Parameter(x) for x in (torch.ones(6), torch.zeros(6))) if not affine else norm.parameters()
        )
        theirs = fuse_linear_bn_eval(model[0], norm)
    else:
        theirs = fuse_conv_bn_eval(model[0], model[1], transpose=name.startswith("ConvT"))
    given = copy.deepcopy({"by": "type", "pattern": name})
    graph, result = run_pass(trace(model, x), "fuse_conv_bn", given)
    assert given == {"by": "type", "pattern": name} and graph.layer_types() == {name: 1, "ReLU": 1}
    assert result.changed == ["1"] and list(model.state_dict()) == ["0.weight", "0.bias"]
    assert model[0].weight is weight  # an optimizer may hold it
    torch.testing.assert_close(model[0].weight, theirs.weight)
    torch.testing.assert_close(model[0].bias, theirs.bias)
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


def test_groups_of_a_transposed_convolution() -> None:
    model = stirred(nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)))
    expected = model(random(2, 4, 5, 6))
    fuse_conv_bn(model, inputs=random(2, 4, 5, 6))
    torch.testing.assert_close(model(random(2, 4, 5, 6)), expected, rtol=1e-5, atol=1e-5)


def test_mobilenet() -> None:
    """Every norm of MobileNetV2 goes; the model keeps its class, and trains afterwards."""
    torch.manual_seed(0)
    with plugin("vision"):
        model = stirred(importlib.import_module("vision.models.mobilenet_v2").MobileNetV2(width_mult=0.25))
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    with torch.no_grad():
        expected = model(random(2, 3, 32, 32))
        graph, result = fuse_conv_bn(model, inputs={"images": random(2, 3, 32, 32)})
        torch.testing.assert_close(model(random(2, 3, 32, 32)), expected, rtol=1e-4, atol=1e-4)
    assert len(result.details) == norms > 50 and "BatchNorm2d" not in graph.layer_types()
    model.train()(random(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_mask_still_holds_and_quantizing_follows() -> None:
    make, inputs = MODELS["conv_net"]
    model, given = stirred(make()), inputs(2, 9)
    prune(model, 0.5, "conv2d", inputs=given)
    expected = model(**given)
    graph, result = fuse_conv_bn(model, inputs=given)
    torch.testing.assert_close(model(**given), expected, rtol=1e-5, atol=1e-5)
    assert len(result.details) == 4 and named_masks(model) and not broken_masks(model)
    graph, _ = quantize(graph, {"conv2d": {"weight": "symmetric", "input": "symmetric"}})
    assert graph.layer_types()["QConv2d"] == 7


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 4, 3, padding=1), nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class Again(Twice):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(self.conv(x)))


class Rows(nn.Module):
    """A norm over the second axis of what a Linear layer gives, which is not that of its features."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(4, 7), nn.BatchNorm1d(7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.fc(x))


def conv(*more: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 4, 3), *more).eval()


@pytest.mark.parametrize(
    ("model", "sizes", "line"),
    [
        (
            conv(nn.BatchNorm1d(4)).train(),
            (2, 4, 9),
            "it is in training mode, in which it takes",
        ),
        (conv(nn.BatchNorm1d(4, track_running_stats=False)), (2, 4, 9), "it keeps no running statistics"),
        (conv(nn.ReLU(), nn.BatchNorm1d(4)), (2, 4, 9), "no batch norm that is chosen follows a convolution"),
        (Twice().eval(), (2, 4, 9), "norm is not fused with conv: add uses the output of conv as well"),
        (Again().eval(), (2, 4, 9), "conv is called several times"),
        (Rows().eval(), (3, 7, 4), "are not what it normalizes"),
    ],
)
def test_what_cannot_be_fused_is_left_as_it_is(model: nn.Module, sizes: tuple, line: str) -> None:
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError) as error:
        fuse_conv_bn(model, inputs=random(*sizes))
    assert line in str(error.value) and "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_other_passes_come_first_or_afterwards() -> None:
    graph = trace(conv(nn.BatchNorm1d(4)), random(2, 4, 9))
    quantized, _ = quantize(graph, {"conv1d": {"weight": "symmetric"}})
    with pytest.raises(ConfigError, match="0 is quantized; fuse first, and quantize afterwards"):
        fuse_conv_bn(quantized)
    adapted, _ = insert_lora(conv(nn.BatchNorm1d(4)), "conv1d", inputs=random(2, 4, 9))
    with pytest.raises(ConfigError, match="0 has an adapter; fuse_lora first"):
        fuse_conv_bn(adapted)
    with pytest.raises(ConfigError, match="unknown option 'patern' in fuse_conv_bn; did you mean 'pattern'"):
        run_pass(graph, "fuse_conv_bn", {"patern": "conv1d"})
