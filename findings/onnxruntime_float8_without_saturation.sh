#!/usr/bin/env bash
# onnxruntime 1.31.1, CPU: QuantizeLinear to float8 with saturate=0. ONNX (operator Cast, table of float8) has NaN of
# float8e4m3fn, and infinity of float8e5m2, for all that lies beyond the largest number, 448 and 57344.
#
#   float8e4m3fn   465 and 1e30 become NaN, but 480 becomes 448
#   float8e5m2     65536 becomes infinity, but 61440 and 61441, which lie between, become NaN
#
# The largest numbers themselves, and saturate=1, are right. Exits with 1 where this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6 ml_dtypes==0.6.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

print("onnx", onnx.__version__, "onnxruntime", ort.__version__, "ml_dtypes", ml_dtypes.__version__)


def rounded(kind, values, saturate):
    x = np.asarray(values, np.float32)
    constants = [numpy_helper.from_array(np.float32(1), "s"), helper.make_tensor("z", kind, (), b"\0", raw=True)]
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], saturate=saturate),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    x_info, y_info = (helper.make_tensor_value_info(name, T.FLOAT, [len(x)]) for name in "xy")
    versions = [helper.make_opsetid("", 21)]
    model = helper.make_model(helper.make_graph(nodes, "g", [x_info], [y_info], constants), opset_imports=versions,
                              ir_version=helper.find_min_ir_version_for(versions))
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0].tolist()


nan, inf = float("nan"), float("inf")
expected = {
    "FLOAT8E4M3FN": ([448, 465, 480, 1e30], [448, nan, 448, nan], ml_dtypes.float8_e4m3fn),
    "FLOAT8E5M2": ([57344, 61440, 61441, 65536], [57344, nan, nan, inf], ml_dtypes.float8_e5m2),
}
changed = False
for name, (values, seen, oracle) in expected.items():
    kind = getattr(T, name)
    found, saturated = rounded(kind, values, 0), rounded(kind, values, 1)
    other = np.asarray(values, np.float32).astype(oracle).astype(np.float32).tolist()
    print(f"{name}: {values} -> saturate=0 {found}, ml_dtypes {other}, saturate=1 {saturated}")
    changed |= str(found) != str([float(value) for value in seen]) or saturated != [values[0]] * 4
if changed:
    sys.exit("no longer as described")
PYTHON
