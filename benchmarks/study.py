"""A study's cells in one warm process against as many `fairseq-hydra-train` commands, with the same numbers.

    python benchmarks/study.py --cells 40 --updates 50 --json benchmarks/results/study.json

A 1-layer RoBERTa of width 32 on the embedded data set, half of the cells with quantization=int8, a checkpoint each.
Half of the commands run before the study and half after it, so that other load on the machine meets both. The numbers
of all runs (history.jsonl, times aside) must be equal.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import REPOSITORY, machine

WORDS = [
    *("common.cpu=true", "dataset.num_workers=0", "model.encoder_layers=1", "model.encoder_embed_dim=32"),
    *("model.encoder_ffn_embed_dim=64", "model.encoder_attention_heads=2"),
]
ROWS = {"fp32": "quantization=none", "int8": "quantization=int8"}
TIMES = ("wall", "train_wall", "wps", "ups")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=40, metavar="N", help="an even number (default: 40)")
    parser.add_argument("--updates", type=int, default=50, metavar="N", help="of each (default: 50)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = compare(Path(temporary), args.cells, args.updates)
    report = {"machine": machine(1), "command": " ".join(sys.argv), "results": results}
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


def compare(folder: Path, cells: int, updates: int) -> dict[str, Any]:
    call(["fairseq_cli.make_acceptability", "--dest", "data", "--train", "1600", "--valid", "200"], folder)
    words = [f"task.data={folder}/data", f"optimization.max_update={updates}", *WORDS]
    config = str(REPOSITORY / "examples/acceptability/config")
    seeds = list(range(1, cells // 2 + 1))
    study = {"config_dir": config, "config_name": "acceptability", "common": words, "metric": "accuracy"}
    study["rows"] = {row: [word] for row, word in ROWS.items()}
    (folder / "study.yaml").write_text(json.dumps({**study, "seeds": [str(seed) for seed in seeds]}))
    lines = [
        [
            *("fairseq_cli.hydra_train", "--config-dir", config, "--config-name", "acceptability", *words, word),
            *(f"common.seed={seed}", f"checkpoint.save_dir={folder}/commands/{row}-seed{seed}"),
            f"hydra.run.dir={folder}/commands/{row}-seed{seed}",
        ]
        for seed in seeds
        for row, word in ROWS.items()
    ]
    half = len(lines) // 2
    turns = [[call(line, folder) for line in lines[:half]]]
    own = call(["fairseq_cli.study", "study.yaml", "--out", "study"], folder)
    turns.append([call(line, folder) for line in lines[half:]])
    halves = [[sum(spent[i] for spent in turn) for i in (0, 1)] for turn in turns]
    wall, processor = (halves[0][i] + halves[1][i] for i in (0, 1))
    names = [f"{row}-seed{seed}" for row in ROWS for seed in seeds]
    different = [name for name in names if numbers(folder, "study/cells", name) != numbers(folder, "commands", name)]
    return {
        "cells": cells,
        "updates": updates,
        "cells_with_other_numbers": different,
        "wall_seconds": {"study": own[0], "commands": wall, "commands_by_half": [each[0] for each in halves]},
        "processor_seconds": {"study": own[1], "commands": processor},
        "ratio_of_wall_time": own[0] / wall,
        "ratio_of_processor_time": own[1] / processor,
    }


def call(words: list[str], folder: Path) -> tuple[float, float]:
    """Wall and processor seconds of `python -m ...`."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    before, start = processor_time(), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{(done.stderr + done.stdout)[-2000:]}")
    return time.perf_counter() - start, processor_time() - before


def processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def numbers(folder: Path, side: str, name: str) -> list[dict[str, Any]]:
    """The history of a run without times and costs, of which the study's full-precision runs report more."""
    lines = (folder / side / name / "history.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["tag"] != "done"]
    return [{k: v for k, v in record.items() if k not in (*TIMES, "bitops")} for record in records]


if __name__ == "__main__":
    main()
