#!/usr/bin/env bash
# onnxruntime 1.31.1, CPU: two valid models of DequantizeLinear and MatMul that run with graph optimizations off, and
# that the default optimizations turn into models which cannot be loaded or run.
#
#   float8     both factors float8e4m3fn   fused into MatMulIntegerToFloat, which takes no float8
#   blocks     uint8 times int8 in blocks  fused into MatMulIntegerToFloat, which knows no block_size
#
# So a weight in float8 or in blocks has to be kept from standing right before a MatMul, for example by half the scale
# and a Mul by 2 behind it. Exits with 1 where this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

print("onnx", onnx.__version__, "onnxruntime", ort.__version__)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def number(name, value, kind=np.float32):
    return numpy_helper.from_array(np.asarray(value, kind), name)


def model(nodes, constants, inputs, columns):
    inputs = [helper.make_tensor_value_info(name, T.FLOAT, shape) for name, shape in inputs.items()]
    y = helper.make_tensor_value_info("y", T.FLOAT, ["rows", columns])
    versions = [helper.make_opsetid("", 21)]
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, [y], constants), opset_imports=versions,
                             ir_version=helper.find_min_ir_version_for(versions))
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def run(data, feeds, optimized):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(["y"], feeds)[0]
    except Exception as error:
        return str(error).strip().splitlines()[0]


rng = np.random.default_rng(0)
x = rng.standard_normal((5, 32)).astype(np.float32)
zero8 = helper.make_tensor("z", T.FLOAT8E4M3FN, (), b"\0", raw=True)
weight8 = helper.make_tensor("w", T.FLOAT8E4M3FN, (32, 8), rng.integers(0, 120, 256).astype(np.uint8).tobytes(), raw=True)
pair = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "xd")]
cases = {
    "float8": (
        model([*pair, node("DequantizeLinear", "w s", "wd"), node("MatMul", "xd wd", "y")],
              [number("s", 0.5), zero8, weight8], {"x": [5, 32]}, 8),
        {"x": x}, "MatMulIntegerToFloat",
    ),
    "blocks": (
        model([*pair, node("DequantizeLinear", "w ws", "wd", axis=0, block_size=16), node("MatMul", "xd wd", "y")],
              [number("s", 0.02), number("z", 128, np.uint8), number("w", rng.integers(-127, 128, (32, 8)), np.int8),
               number("ws", rng.random((2, 8)) + 0.5)], {"x": [5, 32]}, 8),
        {"x": x}, "MatMulIntegerToFloat",
    ),
}
changed = []
for name, (data, feeds, said) in cases.items():
    plain, default = run(data, feeds, False), run(data, feeds, True)
    print(f"{name}: optimizations off: {'runs' if isinstance(plain, np.ndarray) else plain}; "
          f"default: {'runs' if isinstance(default, np.ndarray) else default[:200]}")
    if not isinstance(plain, np.ndarray) or isinstance(default, np.ndarray) or said not in default:
        changed.append(name)
if changed:
    sys.exit(f"no longer as described: {', '.join(changed)}")
PYTHON
