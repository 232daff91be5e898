#!/usr/bin/env bash
# torch 2.13.0, CPU: torch.utils.flop_counter counts no operation of attention and of recurrent layers.
#
# FlopCounterMode has formulas for scaled_dot_product_attention on GPUs. On a CPU the call runs
# aten::_scaled_dot_product_flash_attention_for_cpu, which has none, so both products of attention are missing from the total
# without a word; with the MATH backend, where the same call is two bmm, they are counted. The LSTM's one kernel is
# missing as well. Exits with 1 where this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops(call):
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        call()
    return counted.get_total_flops()


q = torch.randn(2, 4, 16, 8)  # batch, heads, length, features
expected = 2 * 2 * 4 * (16 * 16 * 8 + 16 * 16 * 8)  # two products, two operations each multiply-accumulate


def attention():
    return nn.functional.scaled_dot_product_attention(q, q, q)


with sdpa_kernel(SDPBackend.MATH):
    math = flops(attention)
found = {"expected": expected, "math backend": math, "default": flops(attention), "LSTM": flops(lambda: nn.LSTM(8, 8)(q[0]))}
print(torch.__version__, found)
assert found == {"expected": 65536, "math backend": 65536, "default": 0, "LSTM": 0}, found
PYTHON
echo "torch 2.13.0 counts nothing for attention and LSTM on a CPU"
