"""The action of fairseq-graph that proves: verify."""

import argparse
import json
from pathlib import Path

from fairseq_cli.batch_arguments import add_batch_arguments, batch_settings
from fairseq_cli.fitting import show
from fairseq_cli.graph_arguments import add_inputs, add_model, add_overwrite
from fairseq_cli.graph_batches import from_data, made_up

ACTIONS = {
    "verify": "whether a quantized model does what its plan says; exit code 1, and what failed, where it does not",
}


def add_arguments(action: argparse.ArgumentParser, name: str) -> None:
    add_model(action)
    add_batch_arguments(action, "batches: of a checkpoint's task, or made up", subset="valid", batches=1)
    add_inputs(action, "Batches of random values; without --data. ")
    action.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the random values of the first batch (default: 1)"
    )
    action.add_argument(
        "--num-bits", "--bits", type=int, metavar="N", help="of quantizers whose bits no rule pins (default: eval_bits)"
    )
    action.add_argument(
        "--stored",
        action="store_true",
        help="also fail where a weight itself is off its grid: for models whose weights have been rounded for good",
    )
    out = action.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="as one JSON object")
    out.add_argument("--out", type=Path, metavar="FILE", help="a CSV file besides, one line per tensor and per layer")
    add_overwrite(action)


def run(args: argparse.Namespace) -> None:
    from fairseq.errors import ConfigError
    from fairseq.graph.verification.verify import verify
    from fairseq.output_files import check_output

    settings = batch_settings(args)
    if args.out is not None:
        check_output(args.out, args.overwrite)
    if args.data is not None and args.input:
        raise ConfigError("give --data or --input, not both")
    if args.num_bits is not None and not 1 <= args.num_bits <= 32:
        raise ConfigError(f"--num-bits must be at least 1 and at most 32, got {args.num_bits}")
    if args.data is not None:
        model, batches, call = from_data(args.model, **settings)
    else:
        model, batches, call = made_up(args.model, args.input, args.batches, args.seed)
    if not batches:
        from fairseq.graph.tracing import example_inputs

        raise ConfigError(
            f"{args.model}: say what to run it on, such as {example_inputs(model)}, or --data for checkpoints"
        )
    found = verify(model, batches, num_bits=args.num_bits, run=call, stored=args.stored)
    if args.out is not None:
        args.out.write_text(found.csv_text(), encoding="utf-8")
    print(json.dumps(found.as_dict(), indent=1)) if args.json else show(str(found))
    found.check()
