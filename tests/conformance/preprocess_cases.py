"""Inputs and command lines on which our `fairseq-preprocess` is compared with fairseq 0.12's, byte for byte.

`write_corpus` makes an adversarial little corpus: Zipf-like words, Unicode, runs of white space, empty lines, Windows
line ends, a literal `<unk>`, no newline at the end. `digests` is what is compared: the sha256 of every file but the
log.
"""

import hashlib
import random
from pathlib import Path

LANGS = ["--source-lang", "en", "--target-lang", "de"]
ODD_PADDING = ["--padding-factor", "3"]
BOTH = [*LANGS, "--trainpref", "train", "--validpref", "valid"]

# name -> flags; every case writes to --destdir NAME. `{given}` is a dictionary that an earlier case made.
CASES: dict[str, list[str]] = {
    "pairs": [*BOTH, "--testpref", "valid,valid"],
    "thresholds": [*BOTH, "--thresholdsrc", "2", "--thresholdtgt", "3", "--nwordssrc", "60", "--padding-factor", "1"],
    "joined": [*BOTH, "--joined-dictionary", "--nwordssrc", "100"],
    "joined_given": [*BOTH, "--joined-dictionary", "--srcdict", "{given}"],
    "given": [*BOTH, "--srcdict", "{given}", "--tgtdict", "{given}"],
    "dict_only": [*BOTH, "--dict-only"],
    "only_source": [
        "--only-source",
        "--trainpref",
        "train.en",
        "--validpref",
        "valid.en,valid.de",
        "--padding-factor",
        "3",
    ],
    "only_source_lang": ["--only-source", "--source-lang", "en", "--trainpref", "train", "--validpref", "valid"],
    "labels": ["--only-source", "--trainpref", "train.label", "--validpref", "valid.label"],
    "aligned": [*BOTH, "--align-suffix", "align", "--alignfile", "train.align", "--thresholdsrc", "2"],
    "raw": [*BOTH, "--dataset-impl", "raw"],
    "raw_only_source": ["--only-source", "--trainpref", "train.en", "--dataset-impl", "raw"],
    "cached": [*BOTH, "--dataset-impl", "cached"],
    "lazy": [*BOTH, "--dataset-impl", "lazy"],
    "empty_split": ["--only-source", "--trainpref", "train.en", "--validpref", "empty"],
}
GIVEN = "pairs/dict.en.txt"


def arguments(case: str) -> list[str]:
    """The command line of a case, to be run in the corpus folder."""
    return [*(GIVEN if word == "{given}" else word for word in CASES[case]), "--destdir", case]


def write_corpus(folder: Path) -> None:
    """train/valid in two languages with alignments, and labels."""
    rng = random.Random(0)
    for split, count in (("train", 120), ("valid", 40)):
        lines = {lang: [_line(rng, lang) for _ in range(count)] for lang in ("en", "de")}
        (folder / f"{split}.en").write_bytes("\n".join([*lines["en"], ""]).encode())
        (folder / f"{split}.de").write_bytes("\r\n".join(lines["de"]).encode())  # the last line has no end
        pairs = [_alignment(rng, *both) for both in zip(lines["en"], lines["de"], strict=True)]
        (folder / f"{split}.align").write_text("\n".join([*pairs, ""]))
        labels = rng.choices(["not_entailment", "entailment", "0", "1"], [4, 4, 2, 1], k=count)
        (folder / f"{split}.label").write_text("\n".join([*labels, ""]))
    (folder / "empty").write_bytes(b"")


def _line(rng: random.Random, lang: str) -> str:
    if rng.random() < 0.05:
        return rng.choice(["", "  ", "\t"])
    words = []
    for _ in range(rng.randint(1, 12)):
        rank = int(rng.paretovariate(0.6))
        words.append(
            rng.choice(["<unk>", "ü\u200bß", "日本", "naïve"]) if rank > 400 else f"{lang if rank > 5 else ''}{rank}"
        )
    return rng.choice([" ", " ", "  ", "\u00a0", "\t", "\x85"]).join(words) + rng.choice(["", "", " "])


def _alignment(rng: random.Random, source: str, target: str) -> str:
    m, n = len(source.split()), len(target.split())
    if not m or not n:
        return ""
    return " ".join(f"{rng.randrange(m)}-{rng.randrange(n)}" for _ in range(rng.randint(0, 4)))


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` except logs, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
