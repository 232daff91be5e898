"""Which subwords the texts of a data folder are cut into: those of files, of an imported model, or learned from them.

    subwords = from_folder(Path("gpt2_bpe"))                # or the folder that fairseq-import-hf made
    subwords = trained(texts, "bpe", size=8000, cased=True, dest=folder)

`settings` is the `bpe` group of a config, with names of files in `folder`; `dictionary` has an id for every piece.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders import build_bpe, hf_tokenizer
from fairseq.data.encoders.sentences import PieceEncoder, RobertaEncoder
from fairseq.data.encoders.special_tokens import FRONT, find_special_tokens, renamed
from fairseq.data.encoders.tokenizer_files import library_errors
from fairseq.errors import ConfigError, DataError

KINDS = ("bpe", "wordpiece")
UNKNOWN = "[UNK]"


@dataclass
class Subwords:
    """A tokenizer in files, and its dictionary.

    Attributes:
        settings: `bpe` group of a config; file names are relative to `folder`.
        folder: where the files lie.
        files: their names.
        encoder: turns texts into ids, each ended by eos.
    """

    settings: dict[str, Any]
    folder: Path
    files: list[str]
    encoder: Any

    @property
    def dictionary(self) -> Dictionary:
        return self.encoder.dictionary  # type: ignore[no-any-return]

    def encode(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Ids of each text."""
        return self.encoder.encode(texts)  # type: ignore[no-any-return]

    def bpe(self) -> Any:
        """The same as a `bpe`, which gives pieces in place of ids."""
        settings = {
            key: str(self.folder / value) if value in self.files else value for key, value in self.settings.items()
        }
        return build_bpe(OmegaConf.create(settings))

    def copy_to(self, dest: Path) -> None:
        """Put the files into `dest`."""
        dest.mkdir(exist_ok=True)
        for name in self.files:
            if (self.folder / name).resolve() != (dest / name).resolve():
                shutil.copyfile(self.folder / name, dest / name)


def from_folder(folder: Path) -> Subwords:
    """The tokenizer whose files are in a folder: `encoder.json` and `vocab.bpe` with `dict.txt`, or a `tokenizer.json`
    or `vocab.txt`, with the `dict.txt` of an imported model or without.

    Raises:
        DataError: no such files, or damaged ones.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; --bpe-dir takes the folder with a tokenizer's files")
    has = {
        name
        for name in ("encoder.json", "vocab.bpe", "dict.txt", "tokenizer.json", "vocab.txt")
        if (folder / name).is_file()
    }
    if {"encoder.json", "vocab.bpe"} <= has:
        if "dict.txt" not in has:
            raise DataError(f"{folder} has encoder.json, but no dict.txt; put RoBERTa's beside it")
        settings = {"_name": "gpt2", "gpt2_encoder_json": "encoder.json", "gpt2_vocab_bpe": "vocab.bpe"}
        return Subwords(settings, folder, ["encoder.json", "vocab.bpe"], RobertaEncoder(folder))
    if "tokenizer.json" in has:
        settings = {"_name": "hf_tokenizer", "bpe_tokenizer_json": "tokenizer.json"}
        tokenizer, files = hf_tokenizer.from_json(str(folder / "tokenizer.json")), ["tokenizer.json"]
    elif "vocab.txt" in has:
        cased = not hf_tokenizer.lower_case(folder)
        settings = {"_name": "bert", "bpe_vocab_file": "vocab.txt", "bpe_cased": cased}  # type: ignore[dict-item]
        tokenizer, files = hf_tokenizer.wordpiece(str(folder / "vocab.txt"), cased=cased), ["vocab.txt"]
    else:
        raise DataError(
            f"{folder} has no tokenizer: encoder.json with vocab.bpe and dict.txt, tokenizer.json, or vocab.txt"
        )
    dictionary = Dictionary.load(str(folder / "dict.txt")) if "dict.txt" in has else dictionary_of(tokenizer)
    return Subwords(settings, folder, files, PieceEncoder(tokenizer, dictionary))


def trained(texts: Iterable[str], kind: str, size: int, cased: bool, dest: Path) -> Subwords:
    """Learn a tokenizer of at most `size` pieces and write its tokenizer.json to `dest`.

    Args:
        kind: `bpe` (GPT-2's byte-level BPE, which needs no unknown piece) or `wordpiece` (BERT's).
        cased: keep upper case and accents; byte-level BPE always does.

    Raises:
        ConfigError: no room for single characters.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    least = 256 if kind == "bpe" else 100
    if size < least:
        raise ConfigError(f"--vocab-size {size}: {kind} takes {least} or more pieces")
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        texts = list(texts)
        letters, pieces = _alphabet(tokenizer, texts, size // 4)
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            special_tokens=[UNKNOWN, *pieces],  # given in an order, as the library's own is another one in each process
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            show_progress=False,
        )
    with library_errors("cannot learn subwords from these texts"):
        tokenizer.train_from_iterator(texts, trainer)
    dest.mkdir(exist_ok=True)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = []  # so that [UNK], spelled out in a text, is three pieces as in every text
    (dest / "tokenizer.json").write_text(json.dumps(description, ensure_ascii=False) + "\n", encoding="utf-8")
    return from_folder(dest)


def _alphabet(tokenizer: Any, texts: Iterable[str], most: int) -> tuple[list[str], list[str]]:
    """The most frequent characters of texts, and the pieces of one character that they make, both in order."""
    first: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            first[word[0]] += 1
            later.update(word[1:])
    ranked = sorted((first + later).items(), key=lambda entry: (-entry[1], entry[0]))
    letters = sorted(letter for letter, _ in ranked[:most])
    kept = set(letters)
    return letters, [*sorted(kept & set(first)), *(f"##{letter}" for letter in sorted(kept & set(later)))]


def dictionary_of(tokenizer: Any) -> Dictionary:
    """A dictionary of a tokenizer's pieces in their order, behind `<s> <pad> </s> <unk>`."""
    vocab = tokenizer.get_vocab()
    special = find_special_tokens(vocab)
    names = renamed(vocab, special)
    dictionary = Dictionary()
    for piece in sorted(vocab, key=vocab.__getitem__):
        name = names.get(piece, piece)
        if name not in FRONT:
            dictionary.add_symbol(name, 0)
    return dictionary
