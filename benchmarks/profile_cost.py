"""What `fairseq.graph.profile` adds to forward passes: statistics of what goes into and out of every linear layer.

    python benchmarks/profile_cost.py --repeats 9 --json profile.json

RoBERTa-base of this library in evaluation, several batches of 8 x 64 tokens, processor time of one thread. The sides
run in turn, ratios are of runs that lay next to each other, over the forward passes alone; quartiles in brackets. The
quantiles are compared with those of all values put together, once, before anything is measured.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trace import roberta

import torch
from harness import machine
from torch import Tensor, nn

from fairseq.graph.profile import profile

SIDES: dict[str, dict[str, Any]] = {
    "min/max, mean, variance": {"range_min_max": {}, "variance_online": {}},
    "exact quantiles": {"range_quantile": {"quantile": 0.975}},
}


def forward(model: nn.Module, batches: list[dict[str, Tensor]]) -> None:
    with torch.no_grad():
        for batch in batches:
            model(**batch)


def compare(model: nn.Module, batches: list[dict[str, Tensor]]) -> int:
    """Quantiles of the profile against NumPy's of everything; how many were compared."""
    settings: Mapping[str, Any] = {**SIDES["exact quantiles"], "record": {}}
    rows = profile(model, batches, match=["linear"], weights=[], activations=settings)
    for row in rows:
        found, values = row.statistics["range_quantile"], row.statistics["record"]["data"]
        ordered, places = values.double().sort().values, [0.025 * (len(values) - 1), 0.975 * (len(values) - 1)]
        for place, end in zip(places, ("min", "max"), strict=True):
            low = int(place)
            expected = ordered[low] + (ordered[min(low + 1, len(values) - 1)] - ordered[low]) * (place - low)
            assert abs(found[end] - float(expected)) <= 1e-12 * abs(float(expected)), (row.module, row.tensor, end)
    return len(rows)


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--compare", action="store_true", help="with all values, which takes gigabytes")
    parser.add_argument("--json", type=Path, help="write all figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, _ = roberta()
    generator = torch.Generator().manual_seed(1)
    batches = [{"src_tokens": torch.randint(4, 1000, (8, 64), generator=generator)} for _ in range(args.batches)]
    if args.compare:
        print(f"quantiles of {compare(model, batches)} tensors are those of all their values")
    sides: dict[str, Callable[[], object]] = {"forward alone": lambda: forward(model, batches)}
    for label, wanted in SIDES.items():
        sides[label] = lambda wanted=wanted: profile(model, batches, match=["linear"], weights=[], activations=wanted)
    runs: dict[str, list[float]] = {label: [] for label in sides}
    for repeat in range(-1, args.repeats):
        for label, side in sides.items():
            value = seconds(side)
            if repeat >= 0:
                runs[label].append(value)
    for label, own in runs.items():
        ratios = [a / b for a, b in zip(own, runs["forward alone"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        print(f"{label:24} {statistics.median(own):6.2f} s   {middle:.2f} ({low:.2f} - {high:.2f})")
    if args.json:
        report = {"machine": machine(1), "torch": torch.__version__, "batches": args.batches, "runs": runs}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
