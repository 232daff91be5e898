"""A training step of two pipeline stages on a slow link of this machine, with codecs beside fp32.

    python benchmarks/pipeline.py --rate 100mbit --json pipeline.json

Both processes run in a network namespace of their own (`unshare -rn`, no root), whose loopback `tc` limits by a token
bucket. Both directions share that bucket: the link is half duplex. A stage is one encoder layer of width 256; a step
has 4 micro-batches of 4 sentences of 128 tokens, 1F1B. Sides take turns; the ratio is that of steps next to each other.
Bytes are the kernel's counters of the interface. `--rate none` leaves the link as it is.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

SIDES = ["raw/raw", "group:8,64/group:8,64,sr", "group:4,64/group:8,64,sr", "quantile:2,6/quantile:2,6"]
CHUNKS, ROWS, LENGTH, WIDTH = 4, 4, 128, 256


def interface_bytes() -> int:
    """What the loopback of this namespace has sent."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split()[9])
    return 0


def worker(rank: int, folder: Path, sides: list[str], steps: int) -> None:
    """One of the two processes; the first writes seconds, bytes and stated bytes of each side."""
    import torch
    from torch import distributed as dist

    from fairseq.distributed.codecs import codec
    from fairseq.distributed.pipeline import schedules
    from fairseq.distributed.pipeline.stage import CodecStage

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(rank)
    layer = torch.nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True)
    x = torch.randn(CHUNKS * ROWS, LENGTH, WIDTH)
    part, inner = x[:ROWS].clone(), x[:ROWS].clone().requires_grad_()
    built = {}
    for side in sides:
        forward, backward = (None if spec == "raw" else codec(spec) for spec in side.split("/"))
        stage = CodecStage(layer, rank, 2, torch.device("cpu"), input_args=inner if rank else part, output_args=inner,
                           forward=forward, backward=backward)  # fmt: skip
        built[side] = stage, schedules.build("1f1b", [stage], CHUNKS, lambda y, t: (y - t).square().mean())
    rows: dict[str, dict[str, list[float]]] = {side: {"seconds": [], "bytes": [], "stated": []} for side in sides}
    for step in range(steps + 1):
        for side, (stage, schedule) in built.items():
            dist.barrier()
            before, sent = interface_bytes(), stage.traffic["forward"].sent + stage.traffic["backward"].received
            start = time.perf_counter()
            schedule.step(*(() if rank else (x,)), target=x)
            dist.barrier()
            if step:
                rows[side]["seconds"].append(time.perf_counter() - start)
                rows[side]["bytes"].append(interface_bytes() - before)
                now = stage.traffic["forward"].sent + stage.traffic["backward"].received
                rows[side]["stated"].append(now - sent)
    if rank == 0:
        (folder / "rows.json").write_text(json.dumps(rows))
    dist.barrier()
    dist.destroy_process_group()


def run(rate: str, sides: list[str], steps: int) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        own = f"{sys.executable} {Path(__file__).resolve()} --folder {folder} --steps {steps} --sides {' '.join(sides)}"
        limit = f"tc qdisc add dev lo root tbf rate {rate} burst 128kb latency 50ms && " if rate != "none" else ""
        script = f"ip link set lo up && {limit} {{ {own} --rank 1 & {own} --rank 0; wait; }}"
        subprocess.run(["unshare", "-rn", "sh", "-c", script], check=True)
        return json.loads((Path(folder) / "rows.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", default="100mbit")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sides", nargs="+", default=SIDES, help="FORWARD/BACKWARD codecs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank is not None:
        return worker(args.rank, args.folder, args.sides, args.steps)
    if not all(shutil.which(tool) for tool in ("unshare", "tc", "ip")):
        sys.exit("this needs unshare, ip and tc (util-linux, iproute2)")
    from harness import machine, ratio

    rows = run(args.rate, args.sides, args.steps)
    base = rows[args.sides[0]]["seconds"]
    print(f"link {args.rate}, half duplex, {args.steps} steps")
    print(f"{'forward/backward':<32}{'ms/step':>9}{'speed-up':>10}{'(spread)':>16}{'kernel MB':>11}{'stated MB':>11}")
    for side, row in rows.items():
        gain = row["ratio"] = ratio(base, row["seconds"])
        print(
            f"{side:<32}{statistics.median(row['seconds']) * 1e3:9.1f}{gain['median']:10.2f}"
            f"{gain['min']:8.2f}-{gain['max']:<7.2f}{statistics.median(row['bytes']) / 1e6:11.2f}"
            f"{statistics.median(row['stated']) / 1e6:11.2f}"
        )
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(1), "rate": args.rate, "sides": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
