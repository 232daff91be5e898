"""fairseq-quant-report: what quantization does to a checkpoint, one row per quantizer.

    fairseq-quant-report checkpoints/checkpoint_best.pt
    fairseq-quant-report checkpoint_best.pt --data RTE-bin --png report.png --json report.json
    fairseq-quant-report roberta.base/model.pt --quantization int4 --data RTE-bin     # before training
    fairseq-quant-report checkpoint_best.pt --sensitivity --quantization int8 --data RTE-bin

Weights and the share of BitOPs need no data; activations and gradients are measured on examples of `--data`.
`--sensitivity` (`sensitivity.py`) asks what is lost when one product runs at few bits, and makes mixed plans.
"""

import argparse
from pathlib import Path

from fairseq_cli.batch_arguments import add_batch_arguments, batch_settings
from fairseq_cli.entry import command
from fairseq_cli.fitting import show
from fairseq_cli.sensitivity import add_sensitivity, check_sensitivity, report_sensitivity
from fairseq_cli.user_dir import add_user_dir

VALUES = ("sqnr", "num_bits", "codes_used", "clipped", "bitops")


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-quant-report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
One row per quantizer: bits, codes used, clipped share, SQNR (about 6 dB per
bit), BitOPs share. With --sensitivity: what is lost when one product runs at
few bits and the rest does not, by layer and kind, and a mixed plan from it.""",
        epilog="""\
examples:
  fairseq-quant-report int8/checkpoint_best.pt --data RTE-bin --png report.png
  fairseq-quant-report a.pt --sensitivity --quantization int8 --data RTE-bin
  fairseq-quant-report a.pt --sensitivity --quantization int8 --data RTE-bin \\
      --subset train --budget 4 --plan mixed.yaml --score-subset valid
  fairseq-validate RTE-bin --path a.pt --quantization mixed.yaml""",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", help="trained with quantization=..., or any with --quantization")
    parser.add_argument(
        "--quantization", metavar="PRESET", help="how to quantize a checkpoint that is not: int8, plan.yaml"
    )
    parser.add_argument("--num-bits", type=int, metavar="N", help="of quantizers that follow (default: eval_bits)")
    add_batch_arguments(parser, "data, for activations and gradients", subset="valid", batches=4)
    add_sensitivity(parser)
    add_user_dir(parser)
    out = parser.add_argument_group("output, next to the table")
    out.add_argument("--json", type=Path, metavar="FILE", help="all rows as JSON")
    out.add_argument("--png", type=Path, metavar="FILE", help="heat map over layers")
    out.add_argument("--overwrite", action="store_true", help="replace files that are there already, not only PNGs")
    out.add_argument("--value", choices=VALUES, default="sqnr", help="what the heat map shows (default: %(default)s)")
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.checkpoint_tools.report import measure
    from fairseq.output_files import check_output, check_picture
    from fairseq.plugins import import_user_module
    from fairseq.quantization.analysis import report

    import_user_module(args)
    settings = batch_settings(args)
    check_sensitivity(args)
    if args.json is not None:
        check_output(args.json, args.overwrite, "--json")
    if args.png is not None:
        check_picture(args.png, args.overwrite, "--png")
    if args.sensitivity:
        report_sensitivity(args)
        return
    rows = measure(
        args.checkpoint,
        preset=args.quantization,
        num_bits=args.num_bits,
        **settings,
    )
    show(report.table(rows))
    if args.json:
        args.json.write_text(report.to_json(rows) + "\n", encoding="utf-8")
    if args.png:
        from fairseq.quantization.analysis.heatmap import write_heatmap

        write_heatmap(rows, args.png, value=args.value)
        print(f"{args.png}: {args.value} over layers")


if __name__ == "__main__":
    cli_main()
