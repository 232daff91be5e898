"""What a linear layer keeps for its backward pass, and what its weights take, against fp32.

    python benchmarks/memory.py --json memory.json

Counted, not estimated: every tensor that autograd saves in one forward, each piece of memory once. Parameters are no
activations and are counted apart. Three projections of one input (attention's q, k and v) share its codes.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

import torch  # noqa: E402
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[2048, 768, 3072], metavar=("ROWS", "IN", "OUT"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results here")
    args = parser.parse_args()
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
