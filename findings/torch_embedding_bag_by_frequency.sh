#!/bin/bash
# torch 2.13.0, CPU: nn.EmbeddingBag(scale_grad_by_freq=True) divides gradients by the frequencies of other rows.
#
# The documentation says that a row's gradient is scaled by the inverse of how often the row occurs in the batch. With the
# indices 1 3 3 10 0 1 7, rows 7 and 10 occur once and their gradients are halved. nn.Embedding, given the same indices,
# leaves them whole. The gradient without the setting is the number of times a row occurs, so 1 is right for every row.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy
"$folder/env/bin/python" -W ignore - <<'PYTHON'
import torch
from torch import nn

print("torch", torch.__version__)
indices, offsets = torch.tensor([1, 3, 3, 10, 0, 1, 7]), torch.tensor([0, 2, 2, 5])
gradients = {}
for scaled in (False, True):
    bags = nn.EmbeddingBag(11, 1, mode="sum", scale_grad_by_freq=scaled)
    bags(indices, offsets).sum().backward()
    gradients[scaled] = bags.weight.grad.flatten()
rows = nn.Embedding(11, 1, scale_grad_by_freq=True)
rows(indices).sum().backward()
once = (gradients[False] > 0).float()
print("row occurs             ", gradients[False].int().tolist())
print("EmbeddingBag's gradient", gradients[True].tolist())
print("Embedding's gradient   ", rows.weight.grad.flatten().tolist())
assert torch.equal(rows.weight.grad.flatten(), once)
assert gradients[True][[7, 10]].tolist() == [0.5, 0.5] and not torch.equal(gradients[True], once)
PYTHON
