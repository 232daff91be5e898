"""How fast codecs encode and decode on one core, how small messages are, and how large the error is.

    python benchmarks/codecs.py --json codecs.json
    python benchmarks/codecs.py "group:6,64" "topk:0.2+group:4,64"

The tensor is 4096 x 768 normal values of which two channels are 25 times as large. Speeds are GB/s of fp32, the median
of `--repeats`; all codecs take turns, and between two of them stands the sorting form of `quantile:4,4` (sort, cut into
16 runs, round each, and sort again at the receiver). Bars: 2 GB/s for encoding and decoding together with groups; a
fifth of the sorting form's time for quantiles. `--process-time` measures time on the processor, for busy machines.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

import torch  # noqa: E402
from harness import machine  # noqa: E402
from torch import Tensor  # noqa: E402

from fairseq.distributed.codecs import codec  # noqa: E402

CODECS = [
    "group:8,64", "group:8,64,sr", "group:4,64", "group:3,64", "group:2,64", "tensor:8", "hadamard+group:4,64",
    "quantile:4,4", "quantile:2,6", "topk:0.5+group:8,64", "topk:0.1+group:8,64", "delta:2,64", "lowrank:8", "mxint8",
    "mxfp4", "bf16",
]  # fmt: skip
SORTING = "sort 4+4"


def sorting_form(x: Tensor) -> Tensor:
    """Quantization of 16 runs of the sorted values with 16 levels each, as both ends of the reference do it."""
    ordered, order = x.flatten().sort(descending=True)
    codes, ends = torch.empty(x.numel(), dtype=torch.int32), []
    for part, (run, at) in enumerate(zip(ordered.chunk(16), order.chunk(16), strict=True)):
        step = (run[0] - run[-1]) / 15
        codes[at] = ((run - run[-1]) / step).round_().to(torch.int32) + (15 - part) * 16
        ends.append((run[-1], step))
    received, back = codes.sort(descending=True)
    y = torch.empty(x.numel())
    for (least, step), run, at in zip(ends, received.chunk(16), back.chunk(16), strict=True):
        y[at] = (run & 15) * step + least
    return y.view_as(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codecs", nargs="*", default=CODECS)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--process-time", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    clock = time.process_time if args.process_time else time.perf_counter
    torch.set_num_threads(1)
    x = torch.randn(4096, 768, generator=torch.Generator().manual_seed(0))
    x[:, [5, 300]] *= 25
    gigabytes = x.numel() * 4 / 1e9
    seconds: dict[str, list[tuple[float, float]]] = {spec: [] for spec in (*args.codecs, SORTING)}
    for repeat in range(args.repeats + 1):
        for spec in args.codecs:
            c = codec(spec)
            start = clock()
            message = c.encode(x)
            middle = clock()
            c.decode(message, x.shape)
            if repeat:  # the first compiles kernels
                seconds[spec].append((middle - start, clock() - middle))
        start = clock()
        sorting_form(x)
        if repeat:
            seconds[SORTING].append((clock() - start, 0.0))
    rows: dict[str, Any] = {}
    print(f"{'codec':<24}{'encode':>9}{'decode':>9}{'both':>9}  GB/s{'ratio':>8}{'error':>9}")
    for spec, times in seconds.items():
        y = sorting_form(x) if spec == SORTING else codec(spec).round_trip(x)
        both = statistics.median(map(sum, times))
        encode, decode = (statistics.median(column) for column in zip(*times, strict=True))
        row = {
            "encode_gb_per_s": gigabytes / encode,
            "decode_gb_per_s": gigabytes / decode if decode else None,
            "both_gb_per_s": gigabytes / both,
            "ratio": None if spec == SORTING else x.numel() * 4 / codec(spec).size(x.shape),
            "relative_l2": float((y - x).norm() / x.norm()),
        }
        rows[spec] = row
        numbers = [f"{row[key]:9.2f}" if row[key] else " " * 9 for key in list(row)[:3]]
        print(f"{spec:<24}{''.join(numbers)}      {row['ratio'] or 0:8.2f}{row['relative_l2']:9.4f}")
    if args.json:
        report = {"machine": machine(1), "torch": torch.__version__, "repeats": args.repeats, "codecs": rows}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
