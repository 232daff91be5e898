"""fairseq-precision-range-test: how few bits still learn, as lower bound for cyclic precision training.

    fairseq-precision-range-test --config-dir examples/roberta/config/finetuning --config-name rte task.data=RTE-bin \\
        checkpoint.restore_file=roberta.base/model.pt quantization=cpt_3_8
    fairseq-precision-range-test --low 3 --updates-per-bits 50 --out range ... the words of fairseq-hydra-train ...

Trains some updates at each precision, from the lowest up, and stops at the first one at which training accuracy rises.
Writes the curve to OUT.png and OUT.json; saves no checkpoint.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq_cli.entry import command
from fairseq_cli.hydra_train import run


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-precision-range-test",
        description="Propose the lower bound of a cyclic precision schedule (quantization.schedule.min_bits).",
        epilog="All other words are those of fairseq-hydra-train; `--` may stand before them.",
        allow_abbrev=False,
    )
    parser.add_argument("--low", type=int, default=2, metavar="BITS", help="first precision (default: %(default)s)")
    parser.add_argument(
        "--updates-per-bits", type=int, default=100, metavar="N", help="updates at each (default: %(default)s)"
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="updates in each of the two means that are compared (default: a quarter)",
    )
    parser.add_argument(
        "--threshold", type=float, default=0.01, metavar="GAIN", help="accuracy gained counts from here (default: 0.01)"
    )
    parser.add_argument("--metric", default="accuracy", help="logged training metric, in percent (default: accuracy)")
    parser.add_argument("--all", action="store_true", help="continue to num_bits after the first precision that learns")
    parser.add_argument(
        "--out", type=Path, default=Path("range_test"), metavar="NAME", help="writes NAME.png and NAME.json"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier test")
    return parser


@command
def cli_main(argv: Optional[Sequence[str]] = None) -> None:
    words = sys.argv[1:] if argv is None else list(argv)
    parser = get_parser()
    args, rest = parser.parse_known_args([word for word in words if word != "--"])

    def job(cfg: Any) -> Any:
        from fairseq.dataclass.initialize import finish
        from fairseq.output_files import check_output
        from fairseq.training.precision_range import run_range_test

        if args.out.parent.is_dir():  # else it is made
            for suffix in ("json", "png"):
                check_output(args.out.with_name(f"{args.out.name}.{suffix}"), args.overwrite)
        finish(cfg)
        return run_range_test(cfg, args)

    run(job, rest, "precision_range_test")


if __name__ == "__main__":
    cli_main()
