"""Loss curves of integer and of simulated compute: do they differ by less than two seeds do?

    python benchmarks/curves.py --preset int8 --updates 300 --seeds 1 2 3 --json curves.json
    python benchmarks/curves.py --set dataset.batch_size=256 model.encoder_embed_dim=256

The project's own acceptability task, a 2-layer RoBERTa from scratch (examples/acceptability), trained by
`fairseq-hydra-train` once per seed and kind of compute. A curve is the training loss in windows of `--window` updates.

    distance(a, b) = mean over windows of |a - b|

Printed: the distance between integer and simulate at each seed, and that between seeds in simulate. Exit status 1 if
the first is larger in the median.
"""

import argparse
import json
import statistics
import sys
import tempfile
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import REPOSITORY, Side, machine

Curve = list[float]


def curve(side: Side, words: list[str], threads: int, cwd: str) -> tuple[Curve, float]:
    """Training losses of a run, window by window, and its last validation loss."""
    losses, valid = [], float("nan")
    for _, line in side.lines("fairseq_cli.hydra_train", words, threads, cwd):
        if "[train_inner]" in line:
            losses.append(float(json.loads(line[line.index("{") :])["loss"]))
        elif "[valid]" in line:
            valid = float(json.loads(line[line.index("{") :])["valid_loss"])
    return losses, valid


def distance(a: Curve, b: Curve) -> float:
    return statistics.fmean(abs(x - y) for x, y in zip(a, b, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="int8")
    parser.add_argument("--updates", type=int, default=300, metavar="N")
    parser.add_argument("--window", type=int, default=20, metavar="N", help="updates per point of a curve")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="SEED")
    large = "our own kernels take over from 2^16 numbers in a tensor, as with the second example above"
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=f"settings of all runs; {large}")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all curves there")
    args = parser.parse_args()
    side = Side("ours", sys.executable, REPOSITORY)
    curves: dict[str, dict[int, Curve]] = {"simulate": {}, "integer": {}}
    valid: dict[str, dict[int, float]] = {"simulate": {}, "integer": {}}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "acceptability-bin"
        for _ in side.lines("fairseq_cli.make_acceptability", ["--dest", str(data)], args.threads, folder):
            pass
        common = [
            "--config-dir", str(REPOSITORY / "examples" / "acceptability" / "config"), "--config-name", "acceptability",
            f"task.data={data}", "checkpoint.no_save=true", "common.cpu=true", "common.log_format=json",
            f"common.log_interval={args.window}", f"optimization.max_update={args.updates}",
            f"quantization={args.preset}",
            f"lr_scheduler.warmup_updates={args.updates // 5}",
            *args.set,
        ]  # fmt: skip
        for seed in args.seeds:
            for compute in curves:
                words = [*common, f"common.seed={seed}", f"quantization.compute={compute}"]
                curves[compute][seed], valid[compute][seed] = curve(side, words, args.threads, folder)
                points = " ".join(f"{loss:.2f}" for loss in curves[compute][seed])
                print(f"seed {seed} {compute:<9} {points}   validation {valid[compute][seed]:.3f}", flush=True)
    compute_distances = [distance(curves["integer"][seed], curves["simulate"][seed]) for seed in args.seeds]
    pairs = combinations(args.seeds, 2)
    seed_distances = [distance(curves["simulate"][a], curves["simulate"][b]) for a, b in pairs]
    for title, found in (
        ("integer and simulate, one seed", compute_distances),
        ("two seeds, simulate", seed_distances),
    ):
        print(f"{title:<32} {statistics.median(found):.4f} ({min(found):.4f} - {max(found):.4f})")
    if args.json:
        settings = {"preset": args.preset, "updates": args.updates, "set": args.set}
        report = {"machine": machine(args.threads), "settings": settings,
                  "curves": curves, "validation": valid}  # fmt: skip
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return int(statistics.median(compute_distances) > statistics.median(seed_distances))


if __name__ == "__main__":
    sys.exit(main())
