"""GLUE's TSV files -> `sentence_prediction` data folders, in one step and without intermediate text.

    DEST/input0/{train,valid,test}.{bin,idx}, dict.txt    GPT-2 BPE ids of the first sentence in RoBERTa's dictionary
    DEST/input1/...                                       the second one, where the task has two
    DEST/label/{train,valid}.{bin,idx}, dict.txt          classes; ids by frequency in train, ties alphabetical
    DEST/label/{train,valid}.label                        STS-B instead: score / 5, a number a line

These are the bytes that `examples/roberta/preprocess_GLUE_tasks.sh` makes with `fairseq-preprocess`. MNLI's mismatched
development set is `valid1`. The folder appears only when it is complete.

    prepare("RTE", Path("glue"), Path("RTE-bin"), Path("gpt2_bpe"))  # {"train": 2490, "valid": 277, "test": 3000}
"""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fairseq.data.binarize import write_items
from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders import hf_tokenizer
from fairseq.data.encoders.gpt2_bpe import get_encoder
from fairseq.data.encoders.special_tokens import find_special_tokens, renamed
from fairseq.data.errors import MissingDataError
from fairseq.data.glue import mrpc
from fairseq.data.glue.tasks import GlueTask, Split, find_split, read_split, task
from fairseq.errors import DataError

logger = logging.getLogger(__name__)

_BATCH = 4096  # sentences encoded at a time


def prepare(name: str, glue_dir: Path, dest: Path, bpe_dir: Path, overwrite: bool = False) -> dict[str, int]:
    """Write the data folder of one task; returns the number of examples of each split.

    Args:
        glue_dir: GLUE's folder (with one folder a task), or the task's own.
        dest: the data folder to make.
        bpe_dir: folder with `dict.txt` and RoBERTa's `encoder.json` and `vocab.bpe`, or the `tokenizer.json` or
            `vocab.txt` of an imported model.
        overwrite: replace `dest` if it is there.

    Raises:
        ConfigError: there is no such task.
        DataError: a file is missing or malformed, or `dest` is there already.
    """
    glue_task = task(name)
    encoder = sentence_encoder(bpe_dir)
    with _new_folder(dest, overwrite) as folder:
        splits = read_splits(glue_task, glue_dir)
        for column in range(len(glue_task.text)):
            target = folder / f"input{column}"
            encoder.dictionary.save(str(target / "dict.txt"))
            for split, examples in splits.items():
                items = encoder.encode(examples.text[column])
                write_items(str(target / split), items, vocab_size=len(encoder.dictionary))
        _write_labels(glue_task, folder / "label", splits)
    return {split: len(examples.text[0]) for split, examples in splits.items()}


def read_splits(glue_task: GlueTask, glue_dir: Path) -> dict[str, Split]:
    """All splits of a task; test files may be missing, as they have no labels."""
    folder = glue_dir / glue_task.name
    if not folder.is_dir():
        folder = glue_dir
    if not folder.is_dir():
        raise MissingDataError(f"no folder {glue_dir}; give GLUE's folder by --glue-dir")
    with tempfile.TemporaryDirectory() as temporary:
        if glue_task.name == "MRPC" and mrpc.is_published_form(folder):
            mrpc.split_published(folder, Path(temporary))
            folder = Path(temporary)
        splits = {}
        for split in glue_task.splits:
            if split.startswith("test") and find_split(glue_task, folder, split) is None:
                logger.info("%s: no file of the %s split, left out", glue_task.name, split)
                continue
            splits[split] = read_split(glue_task, folder, split)
        return splits


def write_text(name: str, glue_dir: Path, dest: Path, overwrite: bool = False) -> None:
    """Write the columns as plain text, `{split}.input0`, `{split}.input1` and `{split}.label`, a line per example.

    Raises:
        DataError: a file is missing or malformed, or `dest` is there already and `overwrite` does not replace it.
    """
    with _new_folder(dest, overwrite) as folder:
        for split, examples in read_splits(task(name), glue_dir).items():
            columns = {f"input{column}": lines for column, lines in enumerate(examples.text)}
            if examples.labels is not None:
                columns["label"] = examples.labels
            for column, lines in columns.items():
                (folder / f"{split}.{column}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def label_dictionary(labels: Sequence[str]) -> Dictionary:
    """The dictionary that `fairseq-preprocess` builds from the training labels."""
    dictionary = Dictionary()
    for label in labels:
        dictionary.add_symbol(label)
    dictionary.finalize()
    return dictionary


def _write_labels(glue_task: GlueTask, folder: Path, splits: dict[str, Split]) -> None:
    labelled = {split: examples.labels for split, examples in splits.items() if examples.labels is not None}
    folder.mkdir()
    if glue_task.regression:
        for split, labels in labelled.items():
            (folder / f"{split}.label").write_text("".join(f"{label}\n" for label in labels))
        return
    dictionary = label_dictionary(labelled["train"])
    if missing := glue_task.classes - set(labelled["train"]):
        raise DataError(f"{splits['train'].path} has no example of class {min(missing)!r}; get the file again")
    dictionary.save(str(folder / "dict.txt"))
    for split, labels in labelled.items():
        ids = ([dictionary.index(label), dictionary.eos()] for label in labels)
        write_items(str(folder / split), ids, vocab_size=len(dictionary))


class RobertaEncoder:
    """Sentences -> ids of RoBERTa's dictionary, each ended by eos."""

    def __init__(self, bpe_dir: Path):
        self.dictionary = Dictionary.load(str(bpe_dir / "dict.txt"))
        self._bpe = get_encoder(str(bpe_dir / "encoder.json"), str(bpe_dir / "vocab.bpe"))
        symbols = map(str, range(self._bpe.num_ids))
        self._ids = np.array([self.dictionary.index(symbol) for symbol in symbols])  # by BPE id

    def encode(self, sentences: Sequence[str]) -> Iterator[np.ndarray]:
        for bpe_ids in self._bpe.encode_arrays(sentences):
            yield np.append(self._ids[bpe_ids], self.dictionary.eos())


class PieceEncoder:
    """Sentences -> ids of an imported model's dictionary, each ended by eos."""

    def __init__(self, bpe_dir: Path):
        self.dictionary = Dictionary.load(str(bpe_dir / "dict.txt"))
        if (bpe_dir / "tokenizer.json").exists():
            self._tokenizer = hf_tokenizer.from_json(str(bpe_dir / "tokenizer.json"))
        else:
            self._tokenizer = hf_tokenizer.wordpiece(
                str(bpe_dir / "vocab.txt"), cased=not hf_tokenizer.lower_case(bpe_dir)
            )
        vocab = self._tokenizer.get_vocab()
        symbols = renamed(vocab, find_special_tokens(vocab))
        self._ids = {number: self.dictionary.index(symbols.get(piece, piece)) for piece, number in vocab.items()}

    def encode(self, sentences: Sequence[str]) -> Iterator[np.ndarray]:
        for start in range(0, len(sentences), _BATCH):
            batch = list(sentences[start : start + _BATCH])
            for encoding in self._tokenizer.encode_batch(batch, add_special_tokens=False):
                ids = [self._ids[number] for number in encoding.ids]
                yield np.array([*ids, self.dictionary.eos()])


def sentence_encoder(bpe_dir: Path) -> "RobertaEncoder | PieceEncoder":
    """What turns sentences into ids, by the files in `bpe_dir`."""
    imported = any((bpe_dir / name).exists() for name in ("tokenizer.json", "vocab.txt"))
    return PieceEncoder(bpe_dir) if imported and not (bpe_dir / "encoder.json").exists() else RobertaEncoder(bpe_dir)


@contextlib.contextmanager
def _new_folder(dest: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder next to `dest` that becomes `dest` when the block ends without an error."""
    if dest.exists() and not overwrite and (dest.is_file() or any(dest.iterdir())):
        raise DataError(f"{dest} exists; remove it, give another --dest, or --overwrite to replace it")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{dest.name}-", dir=dest.parent))
    except OSError as error:
        raise DataError(f"cannot write {dest}: {error.strerror}; choose another --dest") from None
    try:
        folder.chmod(0o755)
        yield folder
        if dest.exists():
            shutil.rmtree(dest)
        folder.rename(dest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
