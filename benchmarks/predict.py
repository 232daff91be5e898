"""Sentences predicted per second, ours beside a `transformers` pipeline: same model, lines, order, batch size.

    fairseq-prepare-text SST-2/train.tsv --valid SST-2/dev.tsv --text sentence --label label --dest sst-bin \\
        --bpe-dir minilm
    fairseq-hydra-train --config-dir sst-bin --config-name train task.data=sst-bin checkpoint.save_dir=sst-run
    fairseq-quantize-checkpoint sst-run/checkpoint_best.pt --out int8.pt --quantization int8 --data sst-bin
    fairseq-export-hf sst-run/checkpoint_best.pt --dest sst-hf
    python benchmarks/predict.py --float sst-run/checkpoint_best.pt --packed int8.pt --hf sst-hf \\
        --transformers PYTHON --lines lines.txt

From text to names of classes, tokenizers included. `in order` forms batches of lines as they come, as the pipeline
does; the others put lines of like length into a batch, as `fairseq-predict` does. Sides are processes that take turns.
Bar: int8 at least 2x the pipeline in fp32.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
import turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.add_arguments(parser, repeats=5)
    turns.add_arguments(parser)
    parser.add_argument("--float", required=True, metavar="FILE", help="our checkpoint in full precision")
    parser.add_argument("--packed", required=True, metavar="FILE", help="the same, of fairseq-quantize-checkpoint")
    parser.add_argument("--hf", required=True, metavar="DIR", help="the same, of fairseq-export-hf")
    parser.add_argument("--lines", required=True, type=Path, metavar="FILE", help="a sentence a line")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N")
    args = parser.parse_args()
    common = {
        "script": "predict_worker.py", "lines": str(args.lines.resolve()), "threads": args.threads,
        "batch_size": args.batch_size, "sort": True,
    }  # fmt: skip
    ours = {"library": "ours", **common}
    paths = {name: str(Path(path).resolve()) for name, path in vars(args).items() if name in ("float", "packed", "hf")}
    specs = {
        "transformers fp32": {**common, "library": "transformers", "model": paths["hf"]},
        "ours int8, in order": {**ours, "model": paths["packed"], "sort": False},
        "ours int8": {**ours, "model": paths["packed"]},
        "ours fp32, in order": {**ours, "model": paths["float"], "sort": False},
        "ours fp32": {**ours, "model": paths["float"]},
    }
    specs = turns.chosen(args, specs, turns.interpreters(args, sys.executable), parser)
    results = turns.compare(specs, turns.interpreters(args, sys.executable), args.repeats, 1, args.at_once)
    count = len(args.lines.read_text(encoding="utf-8").splitlines())
    for label, found in results.items():
        if "seconds" in found:
            rates = sorted(count / seconds for seconds in found["seconds"])
            print(f"{label:<26} {rates[len(rates) // 2]:7.0f} sentences/s ({rates[0]:.0f} - {rates[-1]:.0f})")
    info = harness.machine(args.threads)
    print(f"{count} lines, batches of {args.batch_size}; {info['cpu']}, {info['cores']} cores, {args.threads} threads")
    if args.json:
        turns.write_report(args.json, info, common, results)


if __name__ == "__main__":
    main()
