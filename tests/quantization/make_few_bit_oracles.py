"""What BitNet's linear layer of transformers makes of random numbers, as a file for `test_few_bits.py`.

    TORCH_COMPILE_DISABLE=1 python make_few_bit_oracles.py ../fixtures/few_bits/bitnet.json     # transformers 5.23.0

It runs under an interpreter that has the library, and needs nothing of ours: input, weight, the gradient of the output,
and the layer's output and gradients.
"""

import json
import sys

import torch
from transformers.integrations.bitnet import AutoBitLinear


def main(path):
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    layer = AutoBitLinear(12, 5, bias=False, online_quant=True, use_rms_norm=True, rms_norm_eps=1e-6)
    weight, x, grad = draw(5, 12) * 0.3, draw(4, 12), draw(4, 5)
    with torch.no_grad():
        layer.weight.copy_(weight)
    x.requires_grad_()
    y = layer(x)
    y.backward(grad)
    found = {"x": x, "weight": weight, "grad": grad, "y": y, "grad_x": x.grad, "grad_weight": layer.weight.grad}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({name: tensor.detach().tolist() for name, tensor in found.items()}, file)
        file.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
