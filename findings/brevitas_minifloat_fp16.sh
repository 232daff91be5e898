#!/bin/bash
# Brevitas 0.13.4: a minifloat quantizer in fp16 moves values that the format represents exactly.
#
# FloatQuant takes floor(log2(|x| + eps)) as the exponent of x, with eps the least normal number of its type. In fp16 that
# is 2^-14, as large as e5m2's own least normal number. So values below 2^-10 are given the next exponent where eps lifts
# them across a power of two, and round to half as many levels: 1.25, 1.75, 3.5 and 7 times 2^-14, all values of e5m2, come
# back as 1, 2, 4 and 8 times 2^-14. In fp32 and bf16 all values stay. Infinities become NaN in every type, although
# saturating=True is set and the format has no code for NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy setuptools packaging
"$folder/env/bin/pip" install -q --no-deps brevitas==0.13.4 unfoldnd==0.2.3 dependencies==2.0.1
"$folder/env/bin/python" -W ignore - <<'PYTHON' 2> "$folder/errors" || { tail -5 "$folder/errors"; exit 1; }
from importlib.metadata import version

import torch
from brevitas.core.bit_width import BitWidthConst
from brevitas.core.bit_width.float import StaticExponentBias, StaticMaxMantissa
from brevitas.core.function_wrapper import FloatClamp, Identity, TensorClamp
from brevitas.core.quant.float import FloatQuant

print("torch", version("torch"), "brevitas", version("brevitas"))
values = torch.tensor([mantissa * 2.0**exponent for exponent in range(-16, 8) for mantissa in (1, 1.25, 1.5, 1.75)])
values = values[(values / 2.0**-16).round() * 2.0**-16 == values]  # those of e5m2, subnormal ones included
moved = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    e5m2 = FloatQuant(
        signed=True, exponent_bit_width_impl=BitWidthConst(5), mantissa_bit_width_impl=BitWidthConst(2),
        exponent_bias_impl=StaticExponentBias(15), input_view_impl=Identity(), compute_max_mantissa=StaticMaxMantissa(2),
        float_clamp_impl=FloatClamp(TensorClamp(), signed=True, saturating=True), dtype=dtype,
    )
    x = values.to(dtype)
    assert torch.equal(x.float(), values)
    with torch.no_grad():
        y, infinite = e5m2(x)[0], e5m2(torch.tensor([torch.inf, -torch.inf], dtype=dtype))[0]
    moved[dtype] = int((x != y).sum())
    print(f"{dtype}: {moved[dtype]} of {len(x)} values of e5m2 move; infinities become {infinite.tolist()}")
    for before, after in list(zip(x[x != y].tolist(), y[x != y].tolist()))[:4]:
        print(f"    {before / 2.0**-14:g} * 2^-14 -> {after / 2.0**-14:g} * 2^-14")
    assert infinite.isnan().all()
assert moved[torch.float32] == moved[torch.bfloat16] == 0 < moved[torch.float16]
PYTHON
