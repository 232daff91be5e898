"""fairseq-plot: loss, metric and learning-rate curves of one or several runs as a PNG.

fairseq-plot checkpoints
fairseq-plot outputs/run1 outputs/run2 --out compare.png --metrics loss accuracy
"""

import argparse
from pathlib import Path

from fairseq_cli.entry import command


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-plot",
        description="Draw the curves of training runs: history.jsonl in the run's folder, or fairseq's own log files.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="folder of a run or multirun, or a log")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.png", help="default: curves.png in the run's folder; here for several runs"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already, not only PNGs")
    parser.add_argument(
        "--metrics", nargs="+", metavar="KEY", help="what to draw, one panel each (default: loss, metric, lr, bits)"
    )
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.output_files import check_picture
    from fairseq.studies.plots import plot
    from fairseq.studies.records import find_runs

    runs = [run for path in args.runs for run in find_runs(path)]
    out = args.out
    if out is None:
        first = args.runs[0]
        out = first / "curves.png" if len(args.runs) == 1 and first.is_dir() else Path("curves.png")
    check_picture(out, args.overwrite)
    panels = plot(runs, out, args.metrics)
    print(f"{out}: {', '.join(panels)} of {len(runs)} run{'s' if len(runs) > 1 else ''}")


if __name__ == "__main__":
    cli_main()
