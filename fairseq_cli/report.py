"""fairseq-report: one HTML page of one or several runs, or of a study, that opens from disk.

fairseq-report rte-run --out rte.html
fairseq-report outputs/fp32 outputs/int8 outputs/cpt --out compare.html
fairseq-report rte-run --serve                  # follows a run under way: http://127.0.0.1:8000/
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from fairseq_cli.entry import command

DESCRIPTION = """\
Write one HTML page of training runs: settings and what differs between runs,
curves, bits, costs, memory, the precision plan, errors of quantizers (recorded
with common.point_errors_interval), checkpoints and the end of the log; or the
page of a study. It is one file and needs no network. What cannot be read is
named on it.
"""
EXAMPLES = """\
examples:
  fairseq-report rte-run --out rte.html
  fairseq-report outputs/fp32 outputs/int8 outputs/cpt --out compare.html
  fairseq-report rte-run --serve
"""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-report",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN_DIR",
        help="a run's checkpoint.save_dir, a folder with several, or the folder of a study",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.html", help="default: report.html in the only RUN_DIR, or here"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is no report")
    parser.add_argument("--title", default="", help="of the page (default: the run's name)")
    parser.add_argument(
        "--serve", action="store_true", help="instead, serve the page and keep it up to date; Ctrl-C ends"
    )
    parser.add_argument("--port", type=int, default=8000, help="with --serve (default: 8000; 0: any that is free)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="with --serve: the address to listen on (default: this machine only)"
    )
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    if args.serve:
        _serve(args)
        return
    from fairseq.pages.files import check_page, write_page

    out = args.out
    if out is None:
        out = args.runs[0] / "report.html" if len(args.runs) == 1 and args.runs[0].is_dir() else Path("report.html")
    check_page(out, args.overwrite)
    text, what = _maker(args)()
    write_page(out, text)
    print(f"{out}: {what}, {len(text.encode()) / 1e6:.2f} MB")


def _maker(args: argparse.Namespace, live: bool = False) -> Callable[[], tuple[str, str]]:
    """Makes the page, and says what it is of."""
    from fairseq.pages.run_data import find_run_folders, read_run
    from fairseq.pages.run_page import run_page
    from fairseq.pages.study_page import study_page
    from fairseq.studies.study_folder import STUDY_FILE, read_what_is_left

    def make() -> tuple[str, str]:
        if len(args.runs) == 1 and (args.runs[0] / STUDY_FILE).exists():
            study = read_what_is_left(args.runs[0])
            return study_page(study, args.title, live=live), f"{len(study.cells)} cells"
        found = dict.fromkeys(each for path in args.runs for each in find_run_folders(path))
        runs = [read_run(name, folder) for name, folder in found]
        return run_page(runs, args.title, live=live), f"{len(runs)} run{'' if len(runs) == 1 else 's'}"

    return make


def _serve(args: argparse.Namespace) -> None:
    from fairseq.errors import ConfigError
    from fairseq.pages.live import PageServer

    if args.out is not None:
        raise ConfigError("--serve writes no file; take out --out")
    make = _maker(args, live=True)
    make()  # a mistake in the folders is an error now
    with PageServer(lambda: make()[0], args.host, args.port) as server:
        print(f"{server.url} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    cli_main()
