"""fairseq-export-onnx: a RoBERTa checkpoint with a classification head -> a file for onnxruntime and its like.

fairseq-export-onnx int8/checkpoint_best.pt --out rte.onnx
fairseq-export-onnx checkpoint_best.pt --out rte.onnx --head mnli --opset 17
fairseq-export-onnx int8/checkpoint_best.pt --out rte.onnx --data RTE-bin      # counts predictions that differ

session = onnxruntime.InferenceSession("rte.onnx")
[logits] = session.run(["logits"], {"tokens": tokens})       # int64 (batch, sequence), padded as in training
"""

import argparse
from pathlib import Path

from fairseq_cli.batch_arguments import add_batch_arguments, batch_settings
from fairseq_cli.entry import command

EPILOG = """\
The file has the input tokens, int64 (batch, sequence), and the output logits
(batch, classes); both sizes are free, and padding (token 1) is masked. A
checkpoint trained with quantization=... keeps its weights as integers of 2, 4,
8 or 16 bits, or in ONNX's types of floating point where their format is one of
them (docs/formats.md), and has a QuantizeLinear and a DequantizeLinear where
each activation is rounded, at the range and bits of its evaluation. Before the
file is written, made-up batches are run through it and compared with the
checkpoint, and with --data real examples: of a quantized model a few
predictions may differ, as values between two codes may become either. The
metadata of the file has the head's name and, where they are known, its
classes' in order (labels, JSON).

Needs the package onnx (pip install onnx onnxruntime). A quantizer that ONNX
cannot express, such as one whose range comes from each batch, is an error that
names the rule with which a model can be exported.
"""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-export-onnx",
        description="Write a RoBERTa classifier, quantized as it evaluates or in fp32, as an ONNX\nfile.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write, such as model.onnx")
    parser.add_argument("--head", metavar="NAME", help="classification head, where the checkpoint has several")
    parser.add_argument(
        "--opset",
        type=int,
        default=21,
        metavar="N",
        help="version of ONNX's operators; below 21, for older runtimes, 4-bit weights take 8, from 25 on 2-bit ones "
        "take 2, before 4 (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    add_batch_arguments(parser, "data, to compare predictions on", subset="valid", batches=None)
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    from fairseq.export.onnx_file import export_onnx

    settings = batch_settings(args)
    export = export_onnx(
        args.checkpoint,
        args.out,
        args.head,
        args.opset,
        overwrite=args.overwrite,
        **settings,
    )
    print(export.summary())


if __name__ == "__main__":
    cli_main()
