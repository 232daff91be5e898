"""fairseq-score: BLEU of a file of translations against a file of references, line by line.

    fairseq-score --sys out.en --ref test.en
    fairseq-score --sys out.detok.en --ref test.raw.en --sacrebleu

Without --sacrebleu words are what white space separates, so both files have to be tokenised alike.
"""

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from fairseq.dataclass.flags import Parser
from fairseq.errors import ConfigError, DataError, reason
from fairseq_cli.entry import command


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fairseq-score", description="BLEU of translations.")
    parser.add_argument("-s", "--sys", default="-", metavar="SYS", help="translations; - is standard input")
    parser.add_argument("-r", "--ref", required=True, metavar="REF", help="references")
    parser.add_argument("-o", "--order", default=4, type=int, metavar="N", help="longest n-grams, up to 4")
    parser.add_argument("--ignore-case", action="store_true", help="compare lower-cased text")
    parser.add_argument("--sacrebleu", action="store_true", help="score by sacreBLEU with its tokenizer 13a")
    parser.add_argument("--sentence-bleu", action="store_true", help="score each sentence, n-grams smoothed by 1")
    return parser


def main(args: argparse.Namespace) -> None:
    """Print the score that the flags in `args` ask for.

    Raises:
        DataError: a file cannot be read, or has fewer lines than the other.
    """
    if not 1 <= args.order <= 4:
        raise ConfigError(f"--order {args.order}: BLEU here has n-grams of 1 to 4 words")
    outputs, references = _lines(args.sys, args.ignore_case), _lines(args.ref, args.ignore_case)
    if len(outputs) != len(references):
        raise DataError(
            f"{args.sys} has {len(outputs)} lines, {args.ref} {len(references)}: each translation needs its reference"
        )
    if args.sacrebleu:
        import sacrebleu

        print(sacrebleu.BLEU(max_ngram_order=args.order).corpus_score(outputs, [references]).format())
        return
    for line in _token_bleu(outputs, references, args.order, args.sentence_bleu):
        print(line)


def _lines(name: str, lower: bool) -> list[str]:
    try:
        if name == "-":
            text = sys.stdin.read()
        else:
            with open(name, encoding="utf-8") as file:
                text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {name} ({reason(error)})") from None
    lines = (text.lower() if lower else text).split("\n")
    return lines if lines[-1] else lines[:-1]


def _token_bleu(outputs: list[str], references: list[str], order: int, by_sentence: bool) -> Iterable[str]:
    from fairseq.data import Dictionary
    from fairseq.dataclass.scoring import BleuConfig
    from fairseq.scoring.bleu import Scorer

    words = Dictionary()
    scorer: Any = Scorer(BleuConfig(pad=words.pad(), eos=words.eos(), unk=words.unk()))
    for number, (output, reference) in enumerate(zip(outputs, references, strict=True)):
        if by_sentence:
            scorer.reset(one_init=True)
        scorer.add(words.encode_line(reference), words.encode_line(output))
        if by_sentence:
            yield f"{number} {scorer.result_string(order)}"
    if not by_sentence:
        yield scorer.result_string(order)


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    print(args)
    main(args)


if __name__ == "__main__":
    cli_main()
