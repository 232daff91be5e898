"""Cuts lines into the pieces of a SentencePiece model, with fairseq's flags; reads and writes UTF-8.

    python scripts/spm_encode.py --model joint.model --inputs a.de a.en --outputs pieces/a.de pieces/a.en

A line whose number of pieces is outside `--min-len` to `--max-len` in any of the inputs is left out of all outputs.
"""

import argparse
import sys
from contextlib import ExitStack


def parser():
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--model", required=True, help="model file of SentencePiece")
    made.add_argument("--inputs", nargs="+", default=["-"], help="files to read, - for standard input")
    made.add_argument("--outputs", nargs="+", default=["-"], help="files to write, - for standard output")
    made.add_argument("--output_format", choices=["piece", "id"], default="piece")
    made.add_argument("--min-len", type=int, metavar="N", help="leave out lines of fewer pieces")
    made.add_argument("--max-len", type=int, metavar="N", help="leave out lines of more pieces")
    return made


def main(arguments=None):
    options = parser().parse_args(arguments)
    if len(options.inputs) != len(options.outputs):
        return f"spm_encode.py: {len(options.inputs)} inputs and {len(options.outputs)} outputs; give one output each"
    try:
        import sentencepiece
    except ImportError:
        return "spm_encode.py: sentencepiece is not installed: pip install -c constraints.txt '.[text]'"
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=options.model)
        encode(model, options)
    except (OSError, RuntimeError, ValueError) as error:
        return f"spm_encode.py: {str(error).splitlines()[-1]}"


def encode(model, options):
    low = 0 if options.min_len is None else options.min_len
    high = float("inf") if options.max_len is None else options.max_len
    kind = str if options.output_format == "piece" else int
    with ExitStack() as stack:

        def opened(name, mode, standard):
            return standard if name == "-" else stack.enter_context(open(name, mode, encoding="utf-8", newline="\n"))

        inputs = [opened(name, "r", sys.stdin) for name in options.inputs]
        outputs = [opened(name, "w", sys.stdout) for name in options.outputs]
        left_out = 0
        for lines in zip(*inputs, strict=True):
            pieces = [model.encode(line.rstrip("\n"), out_type=kind) for line in lines]
            if not all(low <= len(cut) <= high for cut in pieces):
                left_out += 1
                continue
            for cut, output in zip(pieces, outputs, strict=True):
                print(*cut, file=output)
    if left_out:
        print(f"left out {left_out} lines outside {low} to {high} pieces", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
