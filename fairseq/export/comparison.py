"""How closely an ONNX model computes what ours does: codes of activation quantizers, and logits.

    comparison = compare(model, head, data, points, batches)
    print(comparison.summary())

The ONNX model runs from the tokens to the end. Ours follows it: each quantizer shows the code that it makes, and then
hands on the value that the ONNX model's made. So every product, norm and softmax is compared on equal input, and a
value that lies between two codes, which may become either, has no consequences. Without this, two runs of one and the
same quantized model drift apart as soon as a sum is rounded differently; the logits end to end show how far.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fairseq.errors import CheckpointError
from fairseq.export.roberta import LAYOUTS, Point
from fairseq.export.runtime import Run, runner
from fairseq.models.roberta import RobertaModel
from fairseq.quantization.products.linear import LinearQuantizers
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.quantizer import Quantized, Quantizer

MAX_DEVIATION = 1e-3  # of logits on equal codes, relative to the largest


class Comparison(NamedTuple):
    """Largest differences over all batches.

    Attributes:
        runtime: what ran the ONNX model.
        quantizers: activation quantizers compared.
        code: of two codes, with equal codes before them.
        share: how many of these differ, of all.
        logit: of two logits, with equal codes before them.
        end_to_end: of two logits, each model for itself.
        scale: the largest logit.
    """

    runtime: str
    quantizers: int
    code: int
    share: float
    logit: float
    end_to_end: float
    scale: float

    def summary(self) -> str:
        """A one-line summary."""
        against = f"{self.runtime} beside PyTorch, on made-up batches"
        if not self.quantizers:
            return f"{against}: logits within {self.end_to_end:.1e}"
        codes = f"codes of {self.quantizers} quantizers within {self.code} ({self.share:.2%} differ)"
        logits = f"logits within {self.logit:.1e} on equal codes, within {self.end_to_end:.1e} each for itself"
        return f"{against}: {codes}, {logits}"

    @property
    def is_close(self) -> bool:
        """Whether both are the same network."""
        return self.code <= 1 and self.logit <= MAX_DEVIATION * max(self.scale, 1.0)


def compare(
    model: RobertaModel, head: str, data: bytes, points: Mapping[str, Point], batches: Sequence[Tensor]
) -> Comparison:
    """Run both on `batches` of tokens.

    Args:
        model: in evaluation.
        data: the ONNX file.
        points: where each quantizer's codes and values are.

    Raises:
        CheckpointError: they do not compute the same.
    """
    runtime, run = runner(data)
    # a graph that shows its codes may be optimized less, so logits are those of the other
    shown = sorted({name for point in points.values() for name in (point.codes, point.values) if name})
    run_and_show: Run = runner(data, shown)[1] if points else run
    code = logit = end_to_end = scale = 0.0
    compared = differing = count = 0
    for tokens in batches:
        theirs = run_and_show(tokens)
        with torch.no_grad(), _following(model, points, theirs) as differences:
            ours = model(tokens, classification_head_name=head)[0]
        logit = max(logit, _largest(theirs["logits"] - ours))
        with torch.no_grad():
            ours = model(tokens, classification_head_name=head)[0]
        end_to_end, scale = max(end_to_end, _largest(run(tokens)["logits"] - ours)), max(scale, _largest(ours))
        compared = len(differences)
        for off in differences:
            code, count, differing = max(code, _largest(off)), count + off.numel(), differing + int((off != 0).sum())
    found = Comparison(runtime, compared, int(code), differing / max(count, 1), logit, end_to_end, scale)
    if not found.is_close:
        raise CheckpointError(
            f"the ONNX model does not compute what ours does: {found.summary()}, and they go up to {scale:.1e}; "
            "does a hook or a plugin change a module?"
        )
    return found


@contextmanager
def _following(
    model: RobertaModel, points: Mapping[str, Point], theirs: Mapping[str, Tensor]
) -> Iterator[list[Tensor]]:
    """Make the model's quantizers return another model's values; yields the differences of their codes."""
    differences: list[Tensor] = []
    heads = model.args.encoder_attention_heads

    def replace(quantizer: nn.Module, args: tuple[Any, ...], result: Quantized) -> Quantized:
        x, num_bits = args[:2]
        point = points[quantizer.path]  # type: ignore[index]
        layout = LAYOUTS[point.layout]
        ours = layout.to_graph(quantizer.codes(x, num_bits).int(), heads)  # type: ignore[operator]
        value = layout.to_model(theirs[point.values])
        if point.codes:
            found = theirs[point.codes].int() - point.shift
        else:  # numbers of a floating-point type; rounding them again changes nothing
            found = layout.to_graph(quantizer.codes(value, num_bits).int(), heads)  # type: ignore[operator]
        differences.append(found - ours)
        return Quantized(value, value)

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, Quantizer) and module.path in points:
                handle = module.register_forward_hook(replace)
                stack.callback(handle.remove)
            elif isinstance(module, (LinearQuantizers, MatMulQuantizers)):
                stack.callback(setattr, module, "integer", module.integer)
                module.integer = False  # values can be replaced where products are simulated
        yield differences


def _largest(x: Tensor) -> float:
    return float(x.abs().max())
