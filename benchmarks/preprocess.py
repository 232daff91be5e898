"""Lines per second of `fairseq-preprocess`, ours beside fairseq 0.12, with one worker and with more.

    python benchmarks/preprocess.py --oracle /path/to/python --data multi30k --workers 1 2

Source and target text, each line counted, of `train`, `val` and `test_2016_flickr` in a folder with Multi30k's files
(`train.de.gz` or `train.de`), training text `--times` over. The whole command is measured, with imports, dictionaries
and all files; what both sides write is compared byte for byte. `--clock cpu` is processor time, of all processes
together. Bar: 3x.
"""

import argparse
import filecmp
import gzip
import os
import resource
import tempfile
import time
from pathlib import Path

from harness import Side, add_arguments, alternate, finish, sides, table

SPLITS = {"trainpref": "train", "validpref": "val", "testpref": "test_2016_flickr"}


def write_text(data: Path, folder: Path, times: int) -> int:
    """Plain text of all splits, the training text `times` over; returns the number of lines of both languages."""
    lines = 0
    for flag, split in SPLITS.items():
        for lang in ("de", "en"):
            path = data / f"{split}.{lang}"
            text = (
                path.read_bytes() if path.exists() else gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
            )
            text *= times if flag == "trainpref" else 1
            lines += text.count(b"\n")
            (folder / path.name).write_bytes(text)
    return lines


def children_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_arguments(parser, repeats=5)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with train.de(.gz) and so on")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="numbers to measure")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="repeat the training text so often")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="time that passes, or processor time")
    args = parser.parse_args()
    clock = time.perf_counter if args.clock == "wall" else children_time
    both, results = sides(args), {}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = write_text(args.data.resolve(), folder, args.times)
        runs = 0

        def measure(side: Side, workers: int) -> float:
            nonlocal runs
            runs += 1
            out = folder / f"run{runs}"
            words = ["-s", "de", "-t", "en", "--workers", str(workers), "--destdir", str(out)]
            words += [word for flag, split in SPLITS.items() for word in (f"--{flag}", split)]
            start = clock()
            for _ in side.lines("fairseq_cli.preprocess", words, args.threads, name):
                pass
            seconds = clock() - start
            names = [path.name for path in (folder / "run1").iterdir() if path.suffix != ".log"]
            _, different, missing = filecmp.cmpfiles(folder / "run1", out, names, shallow=False)
            if different or missing:
                raise SystemExit(f"{side.label} with {workers} workers wrote other bytes: {different + missing}")
            return lines / seconds

        for workers in args.workers:
            label = f"preprocess, {workers} worker" + "s" * (workers > 1)
            measured = alternate(both, lambda side, w=workers: measure(side, w), args.repeats)  # type: ignore[misc]
            results[str(workers)] = table(label, "lines/s", measured, better="higher")
    finish(args, both, results)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
