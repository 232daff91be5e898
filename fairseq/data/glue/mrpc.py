"""MRPC as Microsoft publishes it -> GLUE's three files.

GLUE takes its development examples out of the published training file: those whose pair of sentence ids is listed in
`dev_ids.tsv`. Columns of the published files: Quality, #1 ID, #2 ID, #1 String, #2 String.
"""

from pathlib import Path

from fairseq.data.errors import MissingDataError
from fairseq.errors import DataError

PUBLISHED = {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}
DEV_IDS = "dev_ids.tsv"


def is_published_form(folder: Path) -> bool:
    """True where the folder has the published training file, and not GLUE's `train.tsv`."""
    return (folder / PUBLISHED["train"]).is_file() and not (folder / "train.tsv").is_file()


def split_published(folder: Path, target: Path) -> None:
    """Write GLUE's `train.tsv`, `dev.tsv` and `test.tsv` into `target`.

    Raises:
        DataError: the list of development ids is missing, or a listed pair is not in the training file.
    """
    ids_path = folder / DEV_IDS
    if not ids_path.is_file():
        raise MissingDataError(
            f"no {ids_path}; MRPC as published needs GLUE's list of development pairs (mrpc_dev_ids.tsv)"
        )
    dev_ids = {tuple(line.split("\t")) for line in _lines(ids_path)}
    header, *rows = _lines(folder / PUBLISHED["train"])
    in_dev = [tuple(row.split("\t")[1:3]) in dev_ids for row in rows]
    if sum(in_dev) < len(dev_ids):
        raise DataError(
            f"{folder / PUBLISHED['train']} lacks {len(dev_ids) - sum(in_dev)} pairs of {ids_path}; get both again"
        )
    target.mkdir(parents=True, exist_ok=True)
    for name, is_dev in (("train", False), ("dev", True)):
        chosen = [row for row, dev in zip(rows, in_dev, strict=True) if dev is is_dev]
        (target / f"{name}.tsv").write_text("\n".join([header, *chosen, ""]), encoding="utf-8")
    if (folder / PUBLISHED["test"]).is_file():
        lines = _lines(folder / PUBLISHED["test"])
        (target / "test.tsv").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); get the file again") from None
    return text.removesuffix("\n").split("\n")
