"""fairseq-quantize-checkpoint: weights as packed integers, in a file of a quarter of the size or less.

    fairseq-quantize-checkpoint checkpoints/checkpoint_best.pt --out int8.pt               # as it was trained
    fairseq-quantize-checkpoint roberta/model.pt --out int4.pt --quantization int4 --weight-only
    fairseq-quantize-checkpoint finetuned.pt --out int8.pt --quantization int8 --data RTE-bin --fp16

The file scores like the checkpoint, at its evaluation bits: `fairseq-validate --path int8.pt` and
`RobertaModel.from_pretrained` keep the integers in memory, training starts from their values.
"""

import argparse
from typing import TYPE_CHECKING

from fairseq_cli.batch_arguments import add_batch_arguments, batch_settings
from fairseq_cli.entry import command
from fairseq_cli.user_dir import add_user_dir

if TYPE_CHECKING:
    from fairseq.checkpoint_tools.quantize import Summary


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-quantize-checkpoint",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Write the weights of a checkpoint as codes of their number formats, packed into
as many bits as the format has, with their scales. Everything else stays,
except optimizer state and averaged weights.

A checkpoint that was trained with quantization=... is packed as it evaluates,
bit for bit, or at --num-bits. A float one needs --quantization, and for its
activations either --data to measure their ranges on, or --weight-only.""",
        epilog="""\
examples:
  fairseq-quantize-checkpoint checkpoint_best.pt --out int8.pt
  fairseq-quantize-checkpoint a.pt --out b.pt --quantization int4 --weight-only
  fairseq-quantize-checkpoint a.pt --out b.pt --quantization int8 --data RTE-bin
  fairseq-validate RTE-bin --task sentence_prediction --path int8.pt""",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", help="trained with quantization=..., or any with --quantization")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    parser.add_argument(
        "--num-bits", "--bits", type=int, metavar="N", help="of quantizers whose bits no rule pins (default: eval_bits)"
    )
    parser.add_argument("--fp16", action="store_true", help="write what is not quantized in half precision")
    float_group = parser.add_argument_group("checkpoints that are not quantized yet")
    float_group.add_argument("--quantization", metavar="PRESET", help="how to quantize: int8, int4, plan.yaml, ...")
    float_group.add_argument("--weight-only", action="store_true", help="leave activations in full precision")
    add_batch_arguments(parser, "data, to measure ranges of activations on", subset="train", batches=16)
    add_user_dir(parser)
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    settings = batch_settings(args)
    from fairseq.checkpoint_tools.quantize import quantize_checkpoint
    from fairseq.plugins import import_user_module

    import_user_module(args)
    summary = quantize_checkpoint(
        args.checkpoint,
        args.out,
        preset=args.quantization,
        num_bits=args.num_bits,
        weight_only=args.weight_only,
        half=args.fp16,
        **settings,
        overwrite=args.overwrite,
    )
    print(describe(summary, args.out))


def describe(summary: "Summary", out: str) -> str:
    """Two or three lines: what was packed, what was not, what became of the size."""
    by_bits = [
        f"{sum(bits == n for bits in summary.packed.values())} of {n} bits"
        for n in sorted(set(summary.packed.values()))
    ]
    lines = [f"packed weights: {', '.join(by_bits)}; {summary.kept / 1e6:.1f} MB of others as they were"]
    if summary.shared:
        lines.append(f"not packed, as other modules use them too: {', '.join(summary.shared)}")
    share = summary.after / summary.weights
    line = f"{out}: {summary.after / 1e6:.1f} MB, {share:.2f} of the {summary.weights / 1e6:.1f} MB of weights"
    # what else a checkpoint of a run holds is mostly the optimizer's state, as large as two copies of the weights
    lines.append(f"{line} (the checkpoint's file has {summary.before / 1e6:.1f} MB, all of its state counted)")
    return "\n".join(lines)


if __name__ == "__main__":
    cli_main()
