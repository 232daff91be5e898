"""How closely an ONNX model computes what ours does: codes of activation quantizers, and scores.

    comparison = compare(model, head, data, points, batches)
    print(comparison.summary())

A code is compared in two ways. On the same input: ours of the very tensor that the ONNX model quantizes; these differ
by one at most, where a value lies half way. From the tokens on: both models run for themselves, so that a sum rounded
differently may move a value over a boundary, and that code the values behind it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq.errors import CheckpointError
from fairseq.export.roberta import LAYOUTS, Point
from fairseq.export.runtime import runner
from fairseq.models.roberta import RobertaModel
from fairseq.quantization.handle import get_quantization

MOST_FAR = 0.002  # share of codes that may differ by more than one: of another network nearly all do
MOST_DEVIATION = 1e-3  # of scores without quantizers, relative to the largest


class Comparison(NamedTuple):
    """Largest differences over all batches.

    Attributes:
        runtime: what ran the ONNX model.
        quantizers: activation quantizers compared.
        local: the largest difference of two codes of the same input.
        code: the largest difference of two codes from the tokens on.
        share: how many of these differ, of all.
        far: how many differ by more than one, of all.
        score: the largest difference of two scores.
        scale: the largest score.
    """

    runtime: str
    quantizers: int
    local: int
    code: int
    share: float
    far: float
    score: float
    scale: float

    def summary(self) -> str:
        """One line for people."""
        scores = f"logits within {self.score:.1e}"
        if not self.quantizers:
            return f"{self.runtime}: {scores}"
        end_to_end = f"within {self.code} end to end ({self.share:.2%} differ)"
        codes = f"codes of {self.quantizers} quantizers within {self.local} on equal input, {end_to_end}"
        return f"{self.runtime}: {codes}; {scores}"

    @property
    def is_close(self) -> bool:
        """Whether both are the same network."""
        exact = self.quantizers > 0 or self.score <= MOST_DEVIATION * max(self.scale, 1.0)
        return exact and self.local <= 1 and self.far <= MOST_FAR


class _Calls:
    """Which quantizer rounded what: a listener."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[Any, Tensor, int]] = {}

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        self.found[quantizer.path] = (quantizer, x, num_bits)

    def product(self, *told: Any) -> None:
        pass


def compare(
    model: RobertaModel, head: str, data: bytes, points: Mapping[str, Point], batches: Sequence[Tensor]
) -> Comparison:
    """Run both on `batches` of tokens.

    Args:
        data: the ONNX file.
        points: where each quantizer's tensor and codes are.

    Raises:
        CheckpointError: they do not compute the same.
    """
    runtime, run = runner(data)
    # a graph that shows its codes may be optimized less: scores come from the other
    run_for_codes = runner(data, sorted({name for point in points.values() for name in (point.x, point.codes)}))[1]
    heads = model.args.encoder_attention_heads
    local = code = differing = far = count = 0
    score = scale = 0.0
    for tokens in batches:
        ours, calls = _ours(model, head, tokens)
        theirs = run_for_codes(tokens) if points else {}
        for path, point in points.items():
            quantizer, x, num_bits = calls[path]
            codes, same_input = theirs[point.codes].int(), theirs[point.x]
            local = max(local, _largest(codes - quantizer.codes(same_input, num_bits).int()))
            off = (codes - LAYOUTS[point.layout](quantizer.codes(x, num_bits).int(), heads)).abs()
            code, count = max(code, _largest(off)), count + off.numel()
            differing, far = differing + int((off > 0).sum()), far + int((off > 1).sum())
        score, scale = max(score, _largest(run(tokens)["logits"] - ours)), max(scale, _largest(ours))
    count = max(count, 1)
    found = Comparison(runtime, len(points), int(local), int(code), differing / count, far / count, score, scale)
    if not found.is_close:
        raise CheckpointError(
            f"the ONNX model does not compute what ours does: {found.summary()}, and they go up to {scale:.1e}; "
            "does a hook or a plugin change a module?"
        )
    return found


def _ours(model: RobertaModel, head: str, tokens: Tensor) -> tuple[Tensor, dict[str, tuple[Any, Tensor, int]]]:
    """Scores, and what each quantizer rounded."""
    calls, quantization = _Calls(), get_quantization(model)
    with torch.no_grad():
        if quantization is None:
            return model(tokens, classification_head_name=head)[0], {}
        with quantization.step.listening(calls):
            return model(tokens, classification_head_name=head)[0], calls.found


def _largest(x: Tensor) -> float:
    return float(x.abs().max())
