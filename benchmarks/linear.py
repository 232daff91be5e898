"""One linear layer, forward and backward, at RoBERTa-base's largest shape: fp32, bf16 autocast, int8 in all three
products.

    python benchmarks/linear.py --json linear.json

The sides take turns in one process; each ratio is between runs that lay next to each other. An int8 run is a whole
update: the weight is encoded anew, as after an optimizer's step. On a machine that is shared, one thread and `--clock
cpu` (processor time, which does not count the others') give ratios that can be repeated.
"""

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

import torch  # noqa: E402
from harness import machine, ratio  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from fairseq.native.compiled import compiler  # noqa: E402
from fairseq.quantization import quantize_model  # noqa: E402
from fairseq.quantization.kernels.torch_gemm import backend, fuses  # noqa: E402

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def step_of(layer: nn.Module, x: Tensor, grad: Tensor, autocast: bool) -> Callable[[], None]:
    """One update's forward and backward."""
    quantization, update = getattr(layer, "quantization", None), 0

    def step() -> None:
        nonlocal update
        layer.zero_grad(set_to_none=True)
        x.grad = None
        if quantization is not None:
            quantization.begin_micro_batch(update)
            update += 1
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            y = layer(x)
        y.backward(grad.to(y.dtype) if autocast else grad)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[2048, 768, 3072], metavar=("ROWS", "IN", "OUT"))
    parser.add_argument("--sides", nargs="+", default=["fp32", "bf16", "int8", "int4", "cpt_3_8"], metavar="SIDE")
    parser.add_argument("--repeats", type=int, default=30, metavar="N", help="runs of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall-clock or processor time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    clock = CLOCKS[args.clock]
    compiler().break_even = 0

    rows, inputs, outputs = args.shape
    base = nn.Linear(inputs, outputs)
    x, grad = torch.randn(rows, inputs, requires_grad=True), torch.randn(rows, outputs)
    steps = {}
    for side in dict.fromkeys(["fp32", *args.sides]):
        layer: nn.Module = nn.Sequential(copy.deepcopy(base))
        if side not in ("fp32", "bf16"):
            layer = quantize_model(layer, side, compute="integer")
        steps[side] = step_of(layer, x, grad, autocast=side == "bf16")

    first, seconds = {}, {side: [] for side in steps}
    for repeat in range(-3, args.repeats):
        for side, step in steps.items():
            start, begin = clock(), time.perf_counter()
            step()
            if repeat >= 0:
                seconds[side].append(clock() - start)
            first.setdefault(side, time.perf_counter() - begin)
    results: dict[str, Any] = {}
    for side, runs in seconds.items():
        results[side] = {"seconds": runs, "first": first[side], "over fp32": ratio(runs, seconds["fp32"])}
        line = f"{side:<8} {1e3 * statistics.median(runs):8.1f} ms ({1e3 * min(runs):.1f} at best)"
        for other in ("fp32", "bf16"):
            if other in seconds and other != side:
                r = results[side][f"over {other}"] = ratio(runs, seconds[other])
                best = min(runs) / min(seconds[other])
                line += f"   {r['median']:.2f}x {other} ({r['min']:.2f} - {r['max']:.2f}; best {best:.3f})"
        print(line)
    print("first run, kernels included: " + ", ".join(f"{side} {taken:.1f} s" for side, taken in first.items()))
    info = machine(args.threads)
    print(
        f"{rows}x{inputs}x{outputs}, {args.clock} time, integer backend {backend('cpu')}, rescaling GEMM {fuses('cpu')}"
    )
    print(f"{info['cpu']}, {info['cores']} cores, {args.threads} threads, {' '.join(info['flags'])}")
    print(f"python {sys.version.split()[0]}, torch {torch.__version__}")
    if args.json:
        report = {"machine": info, "torch": torch.__version__, "python": sys.version.split()[0], "shape": args.shape,
                  "clock": args.clock, "backend": backend("cpu"), "results": results}  # fmt: skip
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
