"""fairseq-search: search architectures, number formats, compression, or any setting of a training run, by Optuna.

    fairseq-search examples/search/precision.yaml --out precision

The file says what is searched (docs/search.md); results are in OUT: trials.csv, table.md, best_so_far.png, pareto.png,
best.yaml for fairseq-hydra-train, best.toml for fairseq-graph transform. The same command goes on where a search was
stopped or killed, and takes its share where it is started several times, also on several machines.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from fairseq_cli.entry import command

EXAMPLE = """example:
  fairseq-make-acceptability --dest acceptability-bin
  fairseq-search examples/search/architecture.yaml --out architecture --trials 6
  fairseq-hydra-train --config-dir architecture --config-name best
"""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-search",
        description="Search settings of a training run: architecture, formats by layer, compression.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="what to search; see docs/search.md")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="keys in place of the file's: seeds=[1,2]")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the search (default: search-runs/CONFIG)")
    parser.add_argument("--trials", type=int, metavar="N", help="of each sampler and seed, in place of the file's")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes of this machine (default: 1)")
    parser.add_argument("--report", action="store_true", help="run nothing; write tables and plots of what there is")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


@command
def cli_main(argv: Optional[Sequence[str]] = None) -> None:
    words = sys.argv[1:] if argv is None else list(argv)
    args = get_parser().parse_intermixed_args(words)
    from dataclasses import replace

    from fairseq.errors import ConfigError
    from fairseq.studies.search.config import read_config
    from fairseq.studies.search.samplers import import_optuna

    for name, value in (("--trials", args.trials), ("--jobs", args.jobs)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be 1 or more, got {value}")
    config = read_config(args.config, args.changes)
    if args.trials is not None:
        config = replace(config, trials=args.trials)
    out = args.out or Path("search-runs") / args.config.stem
    if out.exists() and not out.is_dir():
        raise ConfigError(f"cannot write {out}: it is a file; give --out a folder")
    import_optuna()
    from fairseq.studies.search.helpers import end_with_parent, helpers
    from fairseq.studies.search.run import report, run_search

    def say(line: str) -> None:
        print(line, flush=True)

    if args.report:
        report(config, out, say)
        return
    if args.worker:
        end_with_parent()
        run_search(config, out, lambda line: say(f"[{os.getpid()}] {line}"), is_helper=True)
        return
    with helpers([*words, "--out", str(out), "--worker"], args.jobs - 1):
        search = run_search(config, out, say, is_helper=args.jobs > 1)
    if args.jobs > 1:
        run_search(config, out, say)  # what helpers that were killed have left, and the results
    del search


if __name__ == "__main__":
    cli_main()
