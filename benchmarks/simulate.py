"""What simulated low precision costs: a RoBERTa training step with fake quantization beside the same step in fp32.

    python benchmarks/simulate.py --presets cpt_3_8 int8 --json simulate.json

A step is forward, backward and Adam on 16 sentences of 64 tokens with a classification head, at RoBERTa-base's shapes.
All sides live in one process and take turns; a ratio is taken between steps that lie next to each other. Bar: at most
1.25x fp32. `--reference` adds linear layers written as the public CPT code is: a copy and one pass per operation,
`torch.rand` for noise, weights rounded anew in every forward.
"""

import argparse
import copy
import json
import os
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from harness import machine, ratio  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from fairseq import models  # noqa: E402
from fairseq.native.compiled import compiler  # noqa: E402
from fairseq.quantization import quantize_model  # noqa: E402
from fairseq.quantization.cpt import calculate_qparams, quantize  # noqa: E402


class Vocabulary:
    """All that a model asks of a dictionary."""

    def __len__(self) -> int:
        return 50265

    def pad(self) -> int:
        return 1


def roberta(layers: int) -> nn.Module:
    """RoBERTa-base with `layers` layers and a classification head."""
    task = Namespace(source_dictionary=Vocabulary(), max_positions=lambda: 512)
    model = models.build_model(Namespace(arch="roberta_base", encoder_layers=layers), task)
    model.register_classification_head("head", num_classes=2)
    return model


class ReferenceGradient(torch.autograd.Function):
    """Gradient rounding with a fresh tensor of random numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        qparams = calculate_qparams(grad, 8, (0, -1), 0, "extreme")
        scale = (qparams.range / 255).clamp(min=1e-8)
        codes = grad.clone().sub_(qparams.zero_point).div_(scale)
        codes.add_(torch.rand_like(codes) - 0.5).clamp_(0, 255).round_()
        return codes.mul_(scale).add_(qparams.zero_point)


class ReferenceLinear(nn.Linear):
    """A linear layer as the public code would have one."""

    def forward(self, input: Tensor) -> Tensor:
        x = quantize(input, 8, flatten_dims=(0, -1))
        w = quantize(self.weight, 8, flatten_dims=(1, -1), reduce_dim=None)
        return ReferenceGradient.apply(F.linear(x, w, self.bias))


def reference(model: nn.Module) -> nn.Module:
    """`model` with `ReferenceLinear` in its layers."""
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and ".layers." in path:
            parent = model.get_submodule(path.rpartition(".")[0])
            new = ReferenceLinear(module.in_features, module.out_features)
            new.load_state_dict(module.state_dict())
            setattr(parent, path.rpartition(".")[2], new)
    return model


def step_of(model: nn.Module, tokens: Tensor, labels: Tensor, freeze: bool) -> Callable[[], float]:
    """One training step; returns its seconds."""
    if freeze:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("classification_heads" in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-5, fused=True)
    quantization, update = getattr(model, "quantization", None), 0

    def step() -> float:
        nonlocal update
        start = time.perf_counter()
        if quantization is not None:
            quantization.begin_micro_batch(update)
        logits = model(tokens, classification_head_name="head")[0]
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if quantization is not None:
            quantization.end_update(model)
        update += 1
        return time.perf_counter() - start

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["cpt_3_8", "int8"], help="what to compare with fp32")
    parser.add_argument("--reference", action="store_true", help="add layers written as the public CPT code is")
    parser.add_argument("--layers", type=int, default=12, metavar="N", help="encoder layers (RoBERTa-base: 12)")
    parser.add_argument("--batch", type=int, nargs=2, default=[16, 64], metavar=("B", "T"), help="sentences, tokens")
    parser.add_argument("--frozen", action="store_true", help="train the head only")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="steps of each side, after two to warm up")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    compiler().break_even = 0  # compile while warming up

    base = roberta(args.layers)
    sides = {"fp32": base}
    for preset in args.presets:
        sides[preset] = quantize_model(copy.deepcopy(base), preset)
    if args.reference:
        sides["reference style"] = reference(copy.deepcopy(base))
    tokens = torch.randint(4, 50000, tuple(args.batch))
    labels = torch.randint(0, 2, (args.batch[0],))
    steps = {name: step_of(model.train(), tokens, labels, args.frozen) for name, model in sides.items()}

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(-2, args.repeats):
        for name, step in steps.items():
            taken = step()
            if repeat >= 0:
                seconds[name].append(taken)
    results: dict[str, Any] = {}
    for name, runs in seconds.items():
        r = ratio(runs, seconds["fp32"])
        results[name] = {"seconds": runs, "ratio": r}
        times = f"{1e3 * statistics.median(runs):8.1f} ms"
        print(f"{name:<16} {times}   {r['median']:.2f}x fp32 ({r['min']:.2f} - {r['max']:.2f})")
    info = machine(args.threads)
    print(f"{info['cpu']}, {info['cores']} cores, {args.threads} threads, {' '.join(info['flags'])}")
    print(f"python {sys.version.split()[0]}, torch {torch.__version__}")
    if args.json:
        settings = {"layers": args.layers, "batch": args.batch, "frozen": args.frozen}
        report = {"machine": info, "torch": torch.__version__, "settings": settings, "results": results}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
