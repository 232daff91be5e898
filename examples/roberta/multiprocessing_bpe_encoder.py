"""Encode text files with GPT-2's byte-level BPE: one line in, one line of BPE ids out.

    python -m examples.roberta.multiprocessing_bpe_encoder \\
        --encoder-json encoder.json --vocab-bpe vocab.bpe --inputs train.txt --outputs train.bpe --keep-empty

Several inputs are parallel texts: without `--keep-empty` a line that is empty in one of them is left out of all. `-` is
standard input or output. Encoding runs in threads of the `tokenizers` library.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TextIO

from fairseq_cli.entry import command

BATCH = 10_000  # lines encoded at a time, and between progress messages


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Encode text with GPT-2's byte-level BPE.", allow_abbrev=False)
    parser.add_argument("--encoder-json", required=True, metavar="FILE", help="encoder.json: token -> id")
    parser.add_argument("--vocab-bpe", required=True, metavar="FILE", help="vocab.bpe: the merges")
    parser.add_argument("--inputs", nargs="+", default=["-"], metavar="FILE", help="text files, line by line parallel")
    parser.add_argument("--outputs", nargs="+", default=["-"], metavar="FILE", help="where each of them goes")
    parser.add_argument("--keep-empty", action="store_true", help="keep empty lines")
    parser.add_argument("--workers", type=int, default=20, metavar="N", help="encode with at most so many threads")
    return parser


@command
def main() -> None:
    from fairseq.errors import ConfigError, DataError

    args = get_parser().parse_args()
    if len(args.inputs) != len(args.outputs):
        raise ConfigError(f"{len(args.inputs)} --inputs need as many --outputs, not {len(args.outputs)}")
    os.environ.setdefault("RAYON_NUM_THREADS", str(max(args.workers, 1)))
    from fairseq.data.encoders.gpt2_bpe import get_encoder

    encoder = get_encoder(args.encoder_json, args.vocab_bpe)
    with contextlib.ExitStack() as stack:
        try:
            inputs = [stack.enter_context(_open(name, "r")) for name in args.inputs]
            outputs = [stack.enter_context(_open(name, "w")) for name in args.outputs]
        except OSError as error:
            raise DataError(f"cannot open {error.filename}: {error.strerror}") from None
        seen = filtered = 0
        for rows in _batches(inputs):
            seen += len(rows)
            kept = [row for row in rows if args.keep_empty or all(row)]
            filtered += len(rows) - len(kept)
            for column, output in enumerate(outputs):
                for ids in encoder.encode_batch([row[column] for row in kept]):
                    output.write(" ".join(map(str, ids)) + "\n")
            print(f"processed {seen} lines", file=sys.stderr)
        if filtered:
            print(f"[num_filtered_EMPTY] filtered {filtered} lines", file=sys.stderr)


def _open(name: str, mode: str) -> contextlib.AbstractContextManager[TextIO]:
    if name == "-":
        return contextlib.nullcontext(sys.stdin if mode == "r" else sys.stdout)
    return open(name, mode, encoding="utf-8")


def _batches(inputs: Sequence[TextIO]) -> Iterator[list[tuple[str, ...]]]:
    lines = (tuple(line.strip() for line in row) for row in zip(*inputs, strict=True))
    while batch := list(islice(lines, BATCH)):
        yield batch


if __name__ == "__main__":
    main()
