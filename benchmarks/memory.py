"""What a linear layer keeps for its backward pass, and what a whole RoBERTa-base step takes, against fp32.

    python benchmarks/memory.py --json memory.json                                  a layer
    python benchmarks/memory.py --step --oracle PYTHON --json memory-step.json      a step at 16 x 128 tokens

Counted, not estimated: every tensor that autograd saves in one forward, each piece of memory once. Parameters are no
activations and are counted apart. Three projections of one input (attention's q, k and v) share its codes.

A step is measured in a fresh process for each side (`worker.py`): the largest resident size of three steps, and the
same less the baseline, which is what Python, torch and the library take before the model is built. Weights and
optimizer state are counted as tensors. For our sides the allocator counts all large tensors, so that the peak is taken
apart:

    weights, optimizer   parameters and buffers; Adam's two moments
    weight codes         what else stays from step to step
    saved                what forward leaves for backward
    passing              tensors of the moment, at the peak
    gaps                 memory that is free at the peak, between the tensors
    imports, rest        Python, torch and the library; small objects and what compilers and libraries keep

Gradients are no part of a peak: they grow while backward frees what was saved.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

import harness  # noqa: E402
import torch  # noqa: E402
import turns  # noqa: E402
from harness import machine  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from fairseq.quantization import quantize_model  # noqa: E402


class Projections(nn.Module):
    """`count` linear layers on one input."""

    def __init__(self, count: int, inputs: int, outputs: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        return sum(layer(x) for layer in self.layers)  # type: ignore[return-value]


def saved_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes that one forward leaves for backward."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in parameters:
            kept[address] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = model(x)
    assert y.requires_grad
    return sum(kept.values())


STEP_SIDES = {
    "fairseq 0.12 fp32": ("fairseq", "fp32"),
    "transformers fp32": ("transformers", "fp32"),
    "ours fp32": ("ours", "fp32"),
    "ours bf16": ("ours", "bf16"),
    "ours simulate": ("ours", "simulate"),
    "ours int8": ("ours", "int8"),
    "ours int4": ("ours", "int4"),
}


def measure_steps(args: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Peak memory of three steps of each side, one process after the other."""
    common = {"model": args.model, "batch": args.batch, "frozen": args.frozen, "threads": args.threads}
    specs = {label: {"library": library, "precision": kind, **common} for label, (library, kind) in STEP_SIDES.items()}
    pythons = turns.interpreters(args, sys.executable)
    results: dict[str, Any] = {}
    for label, spec in turns.chosen(args, specs, pythons, parser).items():
        with turns.Turns({label: spec}, pythons) as alone:
            if label in alone.missing:
                print(f"{label:<20} left out: {alone.missing[label]}")
                continue
            for _ in range(3):
                alone.workers[0].ask("step")
            found = results[label] = alone.workers[0].ask("memory")
        found["above baseline"] = found["peak"] - found["baseline"]
        parts = "   ".join(
            f"{name} {found[name] / 2**20:.0f}" for name in ("peak", "above baseline", "weights", "optimizer")
        )
        text = f"{label:<20} MiB: {parts}"
        for other in ("fairseq 0.12 fp32", "ours fp32"):
            if other in results and other != label:
                text += f"   {found['peak'] / results[other]['peak']:.2f}x {other}"
                text += f" ({found['above baseline'] / results[other]['above baseline']:.2f}x above baseline)"
        print(text, flush=True)
        if found["phases"]:
            found["parts"] = parts_of_peak(found)
            print(
                " " * 21 + ", ".join(f"{name} {size / 2**20:.0f}" for name, size in found["parts"].items()), flush=True
            )
    return {"settings": common, "results": results}


def parts_of_peak(found: dict[str, Any]) -> dict[str, int]:
    """The peak, taken apart as the head of this file says; and the gradients that lie beside it."""
    phases = found["phases"]
    parts = {
        "imports": found["baseline"],
        "weights": found["weights"],
        "optimizer": found["optimizer"],
        "weight codes": max(0, phases["start"] - found["weights"] - found["optimizer"]),  # small tensors lie elsewhere
        "saved": phases["forward"] - phases["start"],
        "passing": phases["most"] - phases["forward"],
        "gaps": phases["touched"] - phases["most"],
    }
    rest = found["peak"] - sum(parts.values())
    return {**parts, "rest": rest, "(gradients)": phases["backward"] - phases["start"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[2048, 768, 3072], metavar=("ROWS", "IN", "OUT"))
    parser.add_argument("--step", action="store_true", help="measure a training step instead of a layer")
    parser.add_argument("--model", choices=("roberta_base", "minilm", "tiny"), default="roberta_base")
    parser.add_argument("--batch", type=int, nargs=2, default=[16, 128], metavar=("B", "T"), help="sentences, tokens")
    parser.add_argument("--frozen", action="store_true", help="train the head only")
    harness.add_arguments(parser, repeats=3)
    turns.add_arguments(parser)
    args = parser.parse_args()
    if args.step:
        report = {"machine": machine(args.threads), **measure_steps(args, parser)}
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")
        return
    rows, inputs, outputs = args.shape
    integer = {"compute": "integer"}
    sides: dict[str, Any] = {
        "fp32": None,
        "simulate 8 bits": {"preset": "int8"},
        "integer 8 bits": {"preset": "int8", **integer},
        "integer 4 bits": {"preset": "int4", **integer},
        "integer 2 bits": {"preset": "int4", "num_bits": 2, **integer},
    }
    results: dict[str, Any] = {}
    for layers in (1, 3):
        for name, settings in sides.items():
            model: nn.Module = Projections(layers, inputs, outputs)
            if settings is not None:
                model = quantize_model(model, **settings)
            x = torch.randn(rows, inputs, requires_grad=True)
            saved = saved_bytes(model, x)
            fp32 = results.setdefault(f"{layers} layers", {}).setdefault("fp32", {"bytes": saved})["bytes"]
            results[f"{layers} layers"][name] = {"bytes": saved, "over fp32": saved / fp32}
            print(f"{layers} layer(s)   {name:<16} {saved / 2**20:8.2f} MiB saved   {saved / fp32:.3f}x fp32")
    print(f"{rows}x{inputs}x{outputs}, torch {torch.__version__}, python {sys.version.split()[0]}")
    if args.json:
        report = {"machine": machine(torch.get_num_threads()), "shape": args.shape, "results": results}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
