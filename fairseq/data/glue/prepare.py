"""GLUE's TSV files -> `sentence_prediction` data folders, in one step and without intermediate text.

    DEST/input0/{train,valid,test}.{bin,idx}, dict.txt    GPT-2 BPE ids of the first sentence in RoBERTa's dictionary
    DEST/input1/...                                       the second one, where the task has two
    DEST/label/{train,valid}.{bin,idx}, dict.txt          classes; ids by frequency in train, ties alphabetical
    DEST/label/{train,valid}.label                        STS-B instead: score / 5, a number a line

These are the bytes that `examples/roberta/preprocess_GLUE_tasks.sh` makes with `fairseq-preprocess`. MNLI's mismatched
development set is `valid1`. The folder appears only when it is complete.

    prepare("RTE", Path("glue"), Path("RTE-bin"), Path("gpt2_bpe"))  # {"train": 2490, "valid": 277, "test": 3000}
"""

import logging
import tempfile
from pathlib import Path

from fairseq.data.binarize import write_items
from fairseq.data.class_names import label_dictionary
from fairseq.data.encoders.sentences import sentence_encoder
from fairseq.data.errors import MissingDataError
from fairseq.data.glue import mrpc
from fairseq.data.glue.tasks import GlueTask, Split, find_split, read_split, task
from fairseq.errors import DataError
from fairseq.job_progress import JobProgress
from fairseq.output_files import new_folder

logger = logging.getLogger(__name__)


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
    with new_folder(dest, overwrite) as folder:
        splits = read_splits(glue_task, glue_dir)
        count = len(glue_task.text) * sum(len(examples.text[0]) for examples in splits.values())
        with JobProgress(f"encoding {name}", count, "sentence") as progress:
            for column in range(len(glue_task.text)):
                target = folder / f"input{column}"
                encoder.dictionary.save(str(target / "dict.txt"))
                for split, examples in splits.items():
                    items = progress.through(encoder.encode(examples.text[column]))
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
    with new_folder(dest, overwrite) as folder:
        for split, examples in read_splits(task(name), glue_dir).items():
            columns = {f"input{column}": lines for column, lines in enumerate(examples.text)}
            if examples.labels is not None:
                columns["label"] = examples.labels
            for column, lines in columns.items():
                (folder / f"{split}.{column}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


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
