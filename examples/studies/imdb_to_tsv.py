"""IMDb's reviews as two TSV files with SST-2's columns, which `fairseq-prepare-glue --task SST-2` reads.

    python imdb_to_tsv.py aclImdb --dest tsv/SST-2 --first 5000

Reads the archive as published (`{train,test}/{pos,neg}/*.txt`), or `{train,test}.tsv[.gz]` with the columns label and
text. Reviews come in a fixed random order; of the test reviews the first 2,000 become `dev.tsv`.
"""

import argparse
import csv
import gzip
import random
import sys
from pathlib import Path

TEST = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description="IMDb's reviews as TSV files with SST-2's columns.")
    parser.add_argument("folder", type=Path, help="aclImdb, or a folder with train.tsv and test.tsv (or .gz)")
    parser.add_argument("--dest", type=Path, required=True, help="folder for train.tsv and dev.tsv")
    parser.add_argument("--first", type=int, default=5000, help="training reviews (default: %(default)s)")
    args = parser.parse_args()
    args.dest.mkdir(parents=True, exist_ok=True)
    for split, name, count in (("train", "train.tsv", args.first), ("test", "dev.tsv", TEST)):
        rows = reviews(args.folder, split)
        random.Random(1).shuffle(rows)
        with open(args.dest / name, "w", encoding="utf-8") as file:
            file.write("sentence\tlabel\n")
            file.writelines(f"{' '.join(text.split())}\t{label}\n" for label, text in rows[:count])


def reviews(folder: Path, split: str) -> list[tuple[int, str]]:
    """Label (1: positive) and text of every review."""
    for path, opened in ((folder / f"{split}.tsv", open), (folder / f"{split}.tsv.gz", gzip.open)):
        if path.is_file():
            csv.field_size_limit(sys.maxsize)
            with opened(path, "rt", encoding="utf-8", newline="") as file:
                rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
                return [(int(row["label"]), row["text"]) for row in rows]
    found = [
        (label, path.read_text(encoding="utf-8"))
        for label, kind in ((1, "pos"), (0, "neg"))
        for path in sorted((folder / split / kind).glob("*.txt"))
    ]
    if not found:
        sys.exit(f"error: {folder} has neither {split}/pos/*.txt nor {split}.tsv[.gz]; give the folder aclImdb")
    return found


if __name__ == "__main__":
    main()
