"""Writes the embedded data set as a `sentence_prediction` data folder.

    DEST/train.tsv, dev.tsv                         as CoLA's: paradigm, label, mark (* if ungrammatical), sentence
    DEST/input0/{train,valid}.{bin,idx}, dict.txt   pieces of each sentence, one item a sentence
    DEST/label/{train,valid}.{bin,idx}, dict.txt    its label
    DEST/baselines.json                             accuracy of the majority class and of a bag of words, in percent

The dictionary lists the whole lexicon, with its counts in the training split: held-out stems have ids (as every word
has in a subword vocabulary) whose embeddings training never touches.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from fairseq.data.acceptability.baselines import baselines
from fairseq.data.acceptability.generate import Sentence, generate
from fairseq.data.acceptability.lexicon import vocabulary
from fairseq.data.binarize import write_items
from fairseq.data.dictionary import Dictionary
from fairseq.errors import DataError

WRITTEN = ("input0", "label", "train.tsv", "dev.tsv", "baselines.json")
FILES = {"train": "train.tsv", "valid": "dev.tsv"}


def write_acceptability(dest: Path, seed: int = 1, train: int = 8000, valid: int = 1000) -> dict[str, float]:
    """Generate both splits and write everything; returns the baselines.

    Raises:
        ConfigError: sizes that the generator cannot make.
        DataError: the folder cannot be written.
    """
    splits = {"train": generate("train", train, seed), "valid": generate("valid", valid, seed)}
    words = dictionary(sentence.pieces for sentence in splits["train"])
    labels = Dictionary()
    labels.add_symbol("0", train // 2)
    labels.add_symbol("1", train // 2)
    labels.finalize()
    scores = baselines(splits["train"], splits["valid"])
    try:
        for folder, symbols in (("input0", words), ("label", labels)):
            (dest / folder).mkdir(parents=True, exist_ok=True)
            symbols.save(str(dest / folder / "dict.txt"))
        for split, sentences in splits.items():
            (dest / FILES[split]).write_text(tsv(sentences), encoding="utf-8")
            _write(dest / "input0" / split, words, (sentence.pieces for sentence in sentences))
            _write(dest / "label" / split, labels, (str(sentence.label) for sentence in sentences))
        (dest / "baselines.json").write_text(json.dumps(scores) + "\n")
    except OSError as error:
        raise DataError(f"cannot write {error.filename or dest}: {error.strerror}; choose another --dest") from None
    return scores


def dictionary(sentences: Iterable[str]) -> Dictionary:
    """All pieces of the lexicon, counted in `sentences`."""
    counts = Counter(piece for pieces in sentences for piece in pieces.split())
    words = Dictionary()
    for piece in vocabulary():
        words.add_symbol(piece, counts[piece])
    words.finalize()
    return words


def tsv(sentences: list[Sentence]) -> str:
    """CoLA's layout: no header; paradigm, label, mark, sentence."""
    return "".join(f"{s.paradigm}\t{s.label}\t{'' if s.label else '*'}\t{s.text}\n" for s in sentences)


def _write(prefix: Path, symbols: Dictionary, lines: Iterable[str]) -> None:
    items = (symbols.encode_line(line, add_if_not_exist=False) for line in lines)
    write_items(str(prefix), items, vocab_size=len(symbols))
