"""What runs an ONNX model on this machine: onnxruntime, or the reference evaluator that comes with onnx (slow).

name, run = runner(data)
logits = run(tokens)["logits"]
"""

from collections.abc import Callable, Sequence
from typing import Any

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


def _onnxruntime(data: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"onnxruntime {onnxruntime.__version__} cannot run the file: {reason}") from None
    return f"onnxruntime {onnxruntime.__version__}", session.run


def _reference(data: bytes) -> Any:
    import onnx
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(data)
    except RuntimeError as error:  # it knows each operator from some version on
        reason = str(error).partition(",")[0]
        raise ConfigError(f"this opset cannot be checked without onnxruntime ({reason}); install it") from None
    return f"onnx {onnx.__version__}'s reference evaluator", evaluator.run
