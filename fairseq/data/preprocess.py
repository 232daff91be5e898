"""A whole `fairseq-preprocess` run: dictionaries, then every split of every language, then alignments.

    destdir/dict.{lang}.txt, destdir/{split}.{src}-{tgt}.{lang}.{bin,idx}     with --source-lang and --target-lang
    destdir/dict.txt, destdir/{split}.{bin,idx}                               with --only-source and no language

`preprocess(args)` takes the parsed flags of the command. The dictionary comes from `--srcdict/--tgtdict`, or is built
from the training text: sorted by count, ties alphabetically, cut by `--threshold*` and `--nwords*`, padded to a
multiple of `--padding-factor`.
"""

import logging
import os
import shutil
from argparse import Namespace
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, Optional, Protocol

from fairseq.data.binarize import (
    AlignmentDatasetBinarizer,
    BinarizeSummary,
    FileBinarizer,
    VocabularyDatasetBinarizer,
    parse_alignment,
)
from fairseq.data.dictionary import Dictionary
from fairseq.errors import ConfigError, DataError
from fairseq.file_chunker_utils import iter_lines
from fairseq.tokenizer import tokenize_line

logger = logging.getLogger("fairseq_cli.preprocess")


class DictionarySource(Protocol):
    """What a task offers for making dictionaries (`FairseqTask` does)."""

    def load_dictionary(self, filename: str) -> Dictionary: ...

    def build_dictionary(
        self, filenames: Iterable[str], workers: int = 1, threshold: int = -1, nwords: int = -1, padding_factor: int = 8
    ) -> Dictionary: ...


class PlainDictionaries:
    """Dictionaries as every built-in task makes them."""

    def load_dictionary(self, filename: str) -> Dictionary:
        return Dictionary.load(filename)

    def build_dictionary(
        self, filenames: Iterable[str], workers: int = 1, threshold: int = -1, nwords: int = -1, padding_factor: int = 8
    ) -> Dictionary:
        dictionary = Dictionary()
        for filename in filenames:
            _require(filename)
            Dictionary.add_file_to_dictionary(filename, dictionary, tokenize_line, workers)
        dictionary.finalize(threshold=threshold, nwords=nwords, padding_factor=padding_factor)
        return dictionary


def preprocess(args: Namespace, dictionaries: Optional[DictionarySource] = None) -> None:
    """Do what the flags in `args` say.

    Raises:
        ConfigError: flags that contradict each other or are missing.
        DataError: an input is missing or unreadable, or a dictionary would be overwritten.
    """
    dictionaries = dictionaries or PlainDictionaries()
    _check(args)
    os.makedirs(args.destdir, exist_ok=True)
    log_file = logging.FileHandler(os.path.join(args.destdir, "preprocess.log"))
    logger.addHandler(log_file)
    try:
        logger.info(args)
        target = None if args.only_source else args.target_lang
        source_dict, target_dict = _make_dictionaries(args, dictionaries)
        source_dict.save(_dict_path(args, args.source_lang))
        if target_dict is not None:
            target_dict.save(_dict_path(args, target))
        if args.dict_only:
            return
        _binarize_language(args, args.source_lang, source_dict)
        if target_dict is not None:
            _binarize_language(args, target, target_dict)
            _binarize_alignments(args)
        logger.info("Wrote preprocessed data to %s", args.destdir)
        if args.alignfile:
            _write_aligned_words(args, source_dict, target_dict or source_dict)
    finally:
        logger.removeHandler(log_file)
        log_file.close()


def _check(args: Namespace) -> None:
    if args.dataset_impl == "huffman":
        raise ConfigError("--dataset-impl huffman is not written by this command; choose mmap")
    if not args.only_source and args.target_lang is None:
        raise ConfigError("--target-lang is missing; give it, or --only-source for text in one language")
    if args.joined_dictionary and args.srcdict and args.tgtdict:
        raise ConfigError("--joined-dictionary takes one of --srcdict and --tgtdict, not both")
    needs_text = not args.srcdict or not (args.only_source or args.tgtdict)
    if args.joined_dictionary:
        needs_text = not (args.srcdict or args.tgtdict)
    if needs_text and not args.trainpref:
        raise ConfigError(
            "--trainpref is missing; it is needed to build a dictionary (or give --srcdict and --tgtdict)"
        )
    for lang, given in ((args.source_lang, args.srcdict), (args.target_lang, args.tgtdict)):
        if args.only_source and lang is not args.source_lang:
            continue
        given = given or (args.joined_dictionary and (args.srcdict or args.tgtdict))
        if not given and os.path.exists(path := _dict_path(args, lang)):
            raise DataError(f"{path} exists; give another --destdir, remove it, or reuse it by --srcdict/--tgtdict")


def _make_dictionaries(args: Namespace, source: DictionarySource) -> tuple[Dictionary, Optional[Dictionary]]:
    def build(langs: Iterable[Optional[str]], threshold: int, nwords: int) -> Dictionary:
        files = sorted({_text_path(args.trainpref, lang) for lang in langs})
        return source.build_dictionary(
            files, workers=args.workers, threshold=threshold, nwords=nwords, padding_factor=args.padding_factor
        )

    if args.joined_dictionary:
        given = args.srcdict or args.tgtdict
        langs = [args.source_lang] if args.only_source else [args.source_lang, args.target_lang]
        joined = source.load_dictionary(given) if given else build(langs, args.thresholdsrc, args.nwordssrc)
        return joined, None if args.only_source else joined
    if args.srcdict:
        source_dict = source.load_dictionary(args.srcdict)
    else:
        source_dict = build([args.source_lang], args.thresholdsrc, args.nwordssrc)
    if args.only_source:
        return source_dict, None
    if args.tgtdict:
        return source_dict, source.load_dictionary(args.tgtdict)
    return source_dict, build([args.target_lang], args.thresholdtgt, args.nwordstgt)


def _binarize_language(args: Namespace, lang: Optional[str], dictionary: Dictionary) -> None:
    for text, split in _splits(args):
        source = _text_path(text, lang)
        if args.dataset_impl == "raw":
            shutil.copyfile(_require(source), _output(args, split, lang, raw=True))
            continue
        logger.info("[%s] Dictionary: %d types", lang, len(dictionary))
        summary = binarize_file(source, _output(args, split, lang), dictionary, args.dataset_impl, args.workers)
        logger.info("[%s] %s: %s (by %s)", lang, source, summary, dictionary.unk_word)


def binarize_file(
    source: str, prefix: str, dictionary: Dictionary, dataset_impl: str = "mmap", workers: int = 1
) -> BinarizeSummary:
    """Write the lines of one text file as ids of `dictionary` to `prefix.bin` and `prefix.idx`."""
    return FileBinarizer.multiprocess_dataset(
        source,
        dataset_impl,
        VocabularyDatasetBinarizer(dictionary),
        prefix,
        vocab_size=len(dictionary),
        num_workers=workers,
    )


def _binarize_alignments(args: Namespace) -> None:
    if not args.align_suffix:
        return
    for text, split in _splits(args):
        source = f"{text}.{args.align_suffix}"
        if not os.path.exists(source):
            continue
        prefix = os.path.join(args.destdir, f"{split}.align.{args.source_lang}-{args.target_lang}")
        summary = FileBinarizer.multiprocess_dataset(
            source, args.dataset_impl, AlignmentDatasetBinarizer(parse_alignment), prefix, num_workers=args.workers
        )
        logger.info("[alignments] %s: parsed %d alignments", source, summary.num_seq)


def _write_aligned_words(args: Namespace, source_dict: Dictionary, target_dict: Dictionary) -> None:
    """`alignment.{src}-{tgt}.txt`: the two words of every pair in `--alignfile`, neither of them unknown."""
    files = [args.alignfile, _text_path(args.trainpref, args.source_lang), _text_path(args.trainpref, args.target_lang)]
    target = os.path.join(args.destdir, f"alignment.{args.source_lang}-{args.target_lang}.txt")
    number = count(1)
    with open(target, "w", encoding="utf-8") as file:
        for pairs, source_line, target_line in zip(*(iter_lines(_require(name)) for name in files), strict=False):
            line = next(number)
            source_words, target_words = tokenize_line(source_line), tokenize_line(target_line)
            positions = parse_alignment(pairs).tolist()
            for i, j in zip(positions[::2], positions[1::2], strict=True):
                if i >= len(source_words) or j >= len(target_words):
                    raise DataError(f"{args.alignfile}, line {line}: pair {i}-{j} is outside the sentence")
                known = source_dict.index(source_words[i]) != source_dict.unk()
                if known and target_dict.index(target_words[j]) != target_dict.unk():
                    file.write(f"{source_words[i]} {target_words[j]}\n")


def _splits(args: Namespace) -> list[tuple[str, str]]:
    """(text prefix, name of the split) of everything to binarize: train, valid, valid1, ..., test, test1, ..."""
    named = [(args.trainpref, "train")] if args.trainpref else []
    for prefixes, split in ((args.validpref, "valid"), (args.testpref, "test")):
        parts: Sequence[str] = prefixes.split(",") if prefixes else ()
        named += [(prefix, f"{split}{number or ''}") for number, prefix in enumerate(parts)]
    return named


def _text_path(prefix: str, lang: Optional[str]) -> str:
    return f"{prefix}.{lang}" if lang else prefix


def _dict_path(args: Namespace, lang: Optional[str]) -> str:
    return os.path.join(args.destdir, f"dict.{lang}.txt" if lang else "dict.txt")


def _output(args: Namespace, split: str, lang: Optional[str], raw: bool = False) -> str:
    pair = f".{args.source_lang}-{args.target_lang}"
    if args.only_source and not lang:
        return os.path.join(args.destdir, split + (pair if raw else ""))
    return os.path.join(args.destdir, f"{split}{pair}.{lang}")


def _require(path: str) -> str:
    if not os.path.isfile(path):
        raise DataError(f"no file {path}; check the prefix and the language suffix")
    return path


__all__: list[Any] = ["DictionarySource", "PlainDictionaries", "binarize_file", "preprocess"]
