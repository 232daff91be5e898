#!/bin/bash
# torchao 0.18.0: blocks of an NVFP4 tensor become zeros although e4m3 has a scale for them.
#
# NVFP4 gives each 16 values an e4m3 scale under one fp32 scale of the tensor, max / (448 * 6). e4m3 goes down to 2^-9 by
# its subnormal numbers. torchao clamps block scales at torch.finfo(torch.float8_e4m3fn).tiny, which is 2^-6, the least
# NORMAL number. From a largest value of 1 / 28672 of the tensor's downwards, blocks round against a scale that is up to 8
# times too large; here all values of one become 0, where the scale 2^-9 keeps them to within the precision of e2m1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 torchao==0.18.0 numpy
"$folder/env/bin/python" -W ignore - <<'PYTHON' 2> "$folder/errors" || { tail -5 "$folder/errors"; exit 1; }
from importlib.metadata import version

import torch
from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

print("torch", version("torch"), "torchao", version("torchao"))
x = torch.zeros(1, 32)
x[0, 0] = 6 * 448.0  # so that the tensor's scale is 1
x[0, 16:] = torch.tensor([0.0038, -0.003, 0.002, 0.0012] * 4)
print("block:  ", x[0, 16:20].tolist())
made = NVFP4Tensor.to_nvfp4(x, per_tensor_scale=per_tensor_amax_to_scale(x.abs().amax()))
found = made.dequantize(torch.float32)[0, 16:]
scales = made.scale.view(torch.float8_e4m3fn).float().flatten()
print("torchao:", found[:4].tolist(), "with scale", scales[1].item())

wanted = (x[0, 16:].abs().amax() / 6).to(torch.float8_e4m3fn).float().clamp(min=2.0**-9)
print("e4m3 has the scale", wanted.item(), "for this block; finfo.tiny is", torch.finfo(torch.float8_e4m3fn).tiny)
levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
nearest = levels[((x[0, 16:].abs() / wanted)[:, None] - levels).abs().argmin(1)] * wanted * x[0, 16:].sign()
print("by that:", nearest[:4].tolist())
errors = [(y - x[0, 16:]).square().sum().sqrt() / x[0, 16:].square().sum().sqrt() for y in (found, nearest)]
print(f"relative errors: {errors[0]:.2f} and {errors[1]:.2f}")
assert scales[1] == 2.0**-6 and wanted < 2.0**-6
assert not found.any() and errors[1] < 0.2
PYTHON
