"""What runs an ONNX model on this machine: onnxruntime, or the reference evaluator that comes with onnx (slow).

name, run = runner(data)
logits = run(tokens)["logits"]
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq.errors import ConfigError

Run = Callable[[Tensor], dict[str, Tensor]]


def runner(data: bytes, names: Sequence[str] = (), reference: bool = False) -> tuple[str, Run]:
    """Its name, and a function from tokens to tensors by name.

    Args:
        data: an ONNX file.
        names: values of the graph that are wanted beside `logits`.
        reference: take the reference evaluator in any case.
    """
    import onnx

    if names:
        file = onnx.load_from_string(data)
        file.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        data = file.SerializeToString()
    wanted = ["logits", *names]
    kind, execute = _reference(data) if reference else _onnxruntime(data) or _reference(data)

    def run(tokens: Tensor) -> dict[str, Tensor]:
        results = execute(wanted, {"tokens": tokens.numpy()})
        return {name: torch.from_numpy(array) for name, array in zip(wanted, results, strict=True)}

    return kind, run


def obstacle_to(kind: str, bits: int, opset: int) -> Optional[str]:
    """Why numbers of the type called `kind` cannot be rounded to and read here, in a few words; None if they can."""
    from onnx import TensorProto, checker, helper, numpy_helper

    number = dict(TensorProto.DataType.items()).get(kind)
    if number is None:
        return "the installed onnx does not know it"
    zero = helper.make_tensor("zero", number, (2,), bytes(-(-2 * bits // 8)), raw=True)
    tokens, logits = (helper.make_tensor_value_info(name, 1, [2]) for name in ("tokens", "logits"))
    one = numpy_helper.from_array(np.ones(2, np.float32), "one")
    nodes = [
        helper.make_node("QuantizeLinear", ["tokens", "one", "zero"], ["codes"], axis=0),
        helper.make_node("DequantizeLinear", ["codes", "one"], ["logits"], axis=0),
    ]
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        helper.make_graph(nodes, "probe", [tokens], [logits], [one, zero]),
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
    )
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # its errors have no base of their own
        return f"opset {opset} of the installed onnx does not take it ({str(error).strip().partition(chr(10))[0]:.60})"
    try:
        result = runner(model.SerializeToString())[1](torch.tensor([1.01, -1.01]))["logits"]
    except ConfigError as error:
        return str(error)
    return None if torch.equal(result, torch.tensor([1.0, -1.0])) else "it is not rounded to here as it should be"


def _onnxruntime(data: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    name = f"onnxruntime {onnxruntime.__version__}"

    def checked(call: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        try:
            return call(*args, **settings)
        except Exception as error:  # its errors have no base of their own
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(f"{name} cannot run the file: {reason}") from None

    session = checked(onnxruntime.InferenceSession, data, options, providers=["CPUExecutionProvider"])
    return name, functools.partial(checked, session.run)


def _reference(data: bytes) -> Any:
    import onnx
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(data)
    except RuntimeError as error:  # it knows each operator from some version on
        reason = str(error).partition(",")[0]
        raise ConfigError(f"this opset cannot be checked without onnxruntime ({reason}); install it") from None
    return f"onnx {onnx.__version__}'s reference evaluator", evaluator.run
