"""fairseq-plot: loss, metric and learning-rate curves of one or several runs as a PNG.

fairseq-plot checkpoints
fairseq-plot outputs/run1 outputs/run2 --out compare.png --metrics loss accuracy
fairseq-plot checkpoints --errors --match '*.input'
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
    parser.add_argument(
        "--errors",
        action="store_true",
        help="instead, errors of quantizers, which common.point_errors_interval records; --metrics are then "
        "sqnr, clipped, relative_l2, cosine, bias, worst_channel_sqnr (default: sqnr clipped)",
    )
    parser.add_argument("--match", metavar="GLOB", help="with --errors: quantizers, such as '*.fc1.*' (default: all)")
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    if args.errors or args.match is not None:
        _plot_errors(args)
        return
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


def _plot_errors(args: argparse.Namespace) -> None:
    from fairseq.errors import ConfigError
    from fairseq.output_files import check_picture
    from fairseq.studies.error_plots import draw_errors, read_errors
    from fairseq.studies.plots import save

    if not args.errors:
        raise ConfigError("--match chooses quantizers; it goes with --errors")
    if len(args.runs) > 1:
        raise ConfigError(f"--errors draws one run, got {len(args.runs)}")
    run = args.runs[0]
    out = args.out or (run / "point_errors.png" if run.is_dir() else Path("point_errors.png"))
    check_picture(out, args.overwrite)
    records = read_errors(run, args.match)
    figure, measures = draw_errors(records, args.metrics)
    save(figure, out)
    print(f"{out}: {', '.join(measures)} of {len({record['quantizer'] for record in records})} quantizers")


if __name__ == "__main__":
    cli_main()
