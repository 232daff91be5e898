"""Does a model learn at a number format? The embedded task, trained from scratch, by preset and seed.

    python benchmarks/format_training.py --out formats --json formats.json
    python benchmarks/format_training.py --out formats --presets none w2 --seeds 1 2 --set optimization.max_update=500

The project's own acceptability task, a 2-layer RoBERTa from scratch (examples/acceptability), trained by
`fairseq-hydra-train` with the quickstart's settings, once per preset and seed. A finished run is not repeated: its
result lies in OUT. Printed: best and last validation accuracy, mean and sample deviation over the seeds, and the
difference from the first preset in pooled deviations

    d = (mean - mean_1) / sqrt((s^2 + s_1^2) / 2)
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import REPOSITORY, Side, machine

PRESETS = ("none", "fp8", "mxfp8", "mxfp6", "mxfp4", "w4", "ternary", "binary")


def train(side: Side, out: Path, preset: str, seed: int, changes: list[str]) -> dict[str, float]:
    """Best and last accuracy of a run in percent, and its seconds; from its file if it has been run."""
    result = out / f"{preset}-{seed}.json"
    if result.exists():
        return json.loads(result.read_text())
    words = [
        *("--config-dir", str(REPOSITORY / "examples/acceptability/config"), "--config-name", "acceptability"),
        *("common.log_format=json", f"common.seed={seed}", f"task.data={out / 'data'}", f"quantization={preset}"),
        *("checkpoint.no_save=true", *changes),
    ]
    lines = list(side.lines("fairseq_cli.hydra_train", words, 1, str(out)))
    accuracies = [
        float(json.loads(line[line.index("{") :])["valid_accuracy"]) for _, line in lines if "[valid]" in line
    ]
    found = {"best": max(accuracies), "last": accuracies[-1], "seconds": lines[-1][0]}
    result.write_text(json.dumps(found))
    return found


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: one row per preset."""
    lines = ["| preset | runs | best accuracy, % | last accuracy, % | pooled deviations from the first |"]
    lines.append("| --- | --- | --- | --- | --- |")
    first = next(iter(runs.values()))
    for preset, found in runs.items():
        cells = [preset.replace("none", "none (fp32)"), str(len(found))]
        for key in ("best", "last"):
            mean, deviation = moments([run[key] for run in found])
            cells.append(f"{mean:.1f} ± {deviation:.1f}")
        (mean, own), (base, other) = (moments([run["best"] for run in some]) for some in (found, first))
        pooled = ((own**2 + other**2) / 2) ** 0.5
        cells.append(f"{(mean - base) / pooled:+.2f}" if pooled else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def moments(values: list[float]) -> tuple[float, float]:
    """Mean and sample deviation."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data and of each run's result")
    parser.add_argument(
        "--presets", nargs="+", default=list(PRESETS), help="the first is what others are compared with"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of every run")
    parser.add_argument("--json", type=Path, help="write the results with machine and versions")
    args = parser.parse_args()

    side, out = Side("ours", sys.executable, REPOSITORY), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "data").exists():
        list(side.lines("fairseq_cli.make_acceptability", ["--dest", str(out / "data")], 1, str(out)))
    runs: dict[str, list[dict[str, float]]] = {preset: [] for preset in args.presets}
    for seed in args.seeds:
        for preset in args.presets:
            runs[preset].append(train(side, out, preset, seed, args.set))
            print(f"seed {seed} {preset}: {runs[preset][-1]}", file=sys.stderr, flush=True)
    print(table(runs))
    if args.json:
        report = {"machine": machine(1), "versions": side.versions(), "set": args.set, "runs": runs}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
