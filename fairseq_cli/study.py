"""fairseq-study: a grid of training runs that survives a kill.

fairseq-study study.yaml --out OUT
fairseq-study study.yaml --out OUT --jobs 2 'seeds=[1]' rows.int8.cost=2
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from fairseq_cli.entry import command

EPILOG = """\
The same command goes on with a study that was interrupted. A small study.yaml:

  command: fairseq-hydra-train
  config_dir: examples/acceptability/config
  config_name: acceptability
  common: [optimization.max_update=300]
  rows: {fp32: [quantization=none], int8: [quantization=int8]}
  seeds: [1, 2]
  metric: accuracy

  fairseq-study study.yaml --out OUT --jobs 2

Results: OUT/results.csv, OUT/table.md, OUT/*.png; runs: OUT/cells/ROW-seedN.
docs/studies.md explains everything that the file may say.
"""
LAUNCHERS = ("joblib", "submitit", "submitit-local")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-study",
        description="Run a grid of training runs: dimensions x rows x seeds.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="what to run; docs/studies.md explains it")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="replace a key of the file, such as 'seeds=[1]'")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the study's folder (default: the file's name)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that run cells (default: 1)")
    parser.add_argument(
        "--launcher",
        choices=LAUNCHERS,
        default="joblib",
        help="how they are started: joblib on this machine, submitit for Slurm, submitit-local to try that without it "
        "(default: joblib)",
    )
    parser.add_argument("--list", action="store_true", help="print the command line of every cell, run nothing")
    return parser


@command
def cli_main(argv: Optional[Sequence[str]] = None) -> None:
    args = get_parser().parse_intermixed_args(argv)
    from fairseq.errors import ConfigError
    from fairseq.studies.config_reader import read_config
    from fairseq.studies.grid import expand

    if args.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {args.jobs}")
    config = read_config(args.config, args.words)
    if args.list:
        for cell in expand(config):
            print(f"{cell.name}\n" + "\n".join(f"  {step.line()}" for step in cell.steps))
        return
    from fairseq.studies.study import run_study

    out = args.out or Path(args.config.stem)
    failed = run_study(config, out, jobs=args.jobs, launcher=args.launcher, say=_say)
    print(f"results: {out / 'results.csv'}, {out / 'table.md'}, {out / 'index.html'}")
    for cell in failed:
        print(f"failed: {cell.name}: {cell.last_line} ({cell.log_file})", file=sys.stderr)
    if failed:
        print(f"error: {len(failed)} cells failed; the same command tries them again", file=sys.stderr)
        sys.exit(1)


def _say(line: str) -> None:
    print(line, file=sys.__stdout__, flush=True)  # cells that run in this process redirect sys.stdout


if __name__ == "__main__":
    cli_main()
