"""Trains a SentencePiece model: `python scripts/spm_train.py --input=a.de,a.en --model_prefix=joint --vocab_size=6000`.

Every option is SentencePiece's own; the library is in the extra `text`.
"""

import sys


def main(arguments):
    try:
        import sentencepiece
    except ImportError:
        return "spm_train.py: sentencepiece is not installed: pip install -c constraints.txt '.[text]'"
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
    if not options.get("input") or not options.get("model_prefix"):
        return "usage: spm_train.py --input=FILE[,FILE...] --model_prefix=PREFIX [--vocab_size=N]"
    try:
        sentencepiece.SentencePieceTrainer.train(minloglevel=1, **options)
    except (OSError, RuntimeError) as error:
        return f"spm_train.py: {str(error).splitlines()[-1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
