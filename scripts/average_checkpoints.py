#!/usr/bin/env python3
"""Average the weights of checkpoints: those that are named, or the last or best ones of a folder.

python scripts/average_checkpoints.py --inputs checkpoints --num-epoch-checkpoints 5 --output average.pt
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fairseq.checkpoint_tools.average import average_checkpoints, last_n_checkpoints
from fairseq.dataclass.flags import Parser
from fairseq.errors import ConfigError
from fairseq_cli.entry import command

__all__ = ["average_checkpoints", "last_n_checkpoints", "main"]


def parser() -> Parser:
    parser = Parser(prog="average_checkpoints.py", description="Average the weights of checkpoints.")
    parser.add_argument("--inputs", required=True, nargs="+", metavar="FILE", help="checkpoints, or one folder of them")
    parser.add_argument("--output", required=True, metavar="FILE", help="checkpoint to write")
    number = parser.add_mutually_exclusive_group()
    for kind, of in (("epoch", "the last N of ends of epochs"), ("update", "the last N of updates")):
        number.add_argument(f"--num-{kind}-checkpoints", type=int, metavar="N", help=f"average {of}")
    number.add_argument("--num-best-checkpoints", type=int, default=0, metavar="N", help="average the N best ones")
    parser.add_argument(
        "--checkpoint-upper-bound", type=int, metavar="N", help="none of a later epoch or update than this"
    )
    return parser


@command
def main() -> None:
    args = parser().parse_args()
    print(args)
    counts = (args.num_epoch_checkpoints, args.num_update_checkpoints, args.num_best_checkpoints)
    if args.checkpoint_upper_bound is not None and not (counts[0] or counts[1]):
        raise ConfigError("--checkpoint-upper-bound needs --num-epoch-checkpoints or --num-update-checkpoints")
    inputs = args.inputs
    if number := next((count for count in counts if count), None):
        inputs = last_n_checkpoints(
            inputs,
            number,
            update_based=args.num_update_checkpoints is not None,
            upper_bound=args.checkpoint_upper_bound,
            best=bool(args.num_best_checkpoints),
        )
        print("averaging checkpoints: ", inputs)
    from fairseq.checkpoint_utils import torch_persistent_save

    torch_persistent_save(average_checkpoints(inputs), args.output)
    print(f"Finished writing averaged checkpoint to {args.output}")


if __name__ == "__main__":
    main()
