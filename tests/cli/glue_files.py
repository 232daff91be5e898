"""Small GLUE folders with each task's real columns, for tests that run without the real data."""

import json
import random
from pathlib import Path

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    '"quoted',
    "house",
    "runs",
    "sleeps",
    "isn't",
    "naïve",
    "日本",
    "3.5",
    "New",
    "York",
    ",",
    ".",
    "?",
]

# columns of train/dev and of test; {a} {b} sentences, {y} label, {i} index, - filler
LAYOUTS = {
    "CoLA": (None, "gj04\t{y}\t\t{a}", "index\tsentence", "{i}\t{a}"),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\ts1bp\ts2bp\ts1p\ts2p\tsentence1\tsentence2\tlabel1\tgold_label",
        "{i}\t1\t2\tfiction\t-\t-\t-\t-\t{a}\t{b}\tneutral\t{y}",
        "index\tpromptID\tpairID\tgenre\ts1bp\ts2bp\ts1p\ts2p\tsentence1\tsentence2",
        "{i}\t1\t2\tfiction\t-\t-\t-\t-\t{a}\t{b}",
    ),
    "MRPC": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "{y}\t{i}1\t{i}2\t{a}\t{b}",
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "{i}\t{i}1\t{i}2\t{a}\t{b}",
    ),
    "QNLI": ("index\tquestion\tsentence\tlabel", "{i}\t{a}\t{b}\t{y}", "index\tquestion\tsentence", "{i}\t{a}\t{b}"),
    "QQP": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "{i}\t1\t2\t{a}\t{b}\t{y}",
        "id\tquestion1\tquestion2",
        "{i}\t{a}\t{b}",
    ),
    "RTE": ("index\tsentence1\tsentence2\tlabel", "{i}\t{a}\t{b}\t{y}", "index\tsentence1\tsentence2", "{i}\t{a}\t{b}"),
    "SST-2": ("sentence\tlabel", "{a} \t{y}", "index\tsentence", "{i}\t{a}"),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "{i}\tmain\tfile\t2012\t1\tnone\tnone\t{a}\t{b}\t{y}",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        "{i}\tmain\tfile\t2012\t1\tnone\tnone\t{a}\t{b}",
    ),
    "WNLI": (
        "index\tsentence1\tsentence2\tlabel",
        "{i}\t{a}\t{b}\t{y}",
        "index\tsentence1\tsentence2",
        "{i}\t{a}\t{b}",
    ),
}
LABELS = {
    "MNLI": ["neutral", "entailment", "contradiction"],
    "QNLI": ["entailment", "not_entailment"],
    "RTE": ["entailment", "not_entailment"],
    "STS-B": ["5.000", "3.8", "0.0", "2.533", "1.25"],
}


def make_glue(folder: Path, *tasks: str, train: int = 12, dev: int = 5) -> Path:
    """Write the original files of `tasks` (default: all nine) below `folder`; returns it."""
    for task in tasks or LAYOUTS:
        rng = random.Random(task)
        header, row, test_header, test_row = LAYOUTS[task]
        suffixes = ("_matched", "_mismatched") if task == "MNLI" else ("",)
        _write(folder / task / "train.tsv", header, row, _examples(rng, task, train))
        for suffix in suffixes:
            _write(folder / task / f"dev{suffix}.tsv", header, row, _examples(rng, task, dev))
            _write(folder / task / f"test{suffix}.tsv", test_header, test_row, _examples(rng, task, dev))
    return folder


def make_bpe(folder: Path) -> Path:
    """A byte-level BPE of the 256 bytes and one merge, as encoder.json, vocab.bpe and dict.txt; returns `folder`."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*sorted(ByteLevel.alphabet()), "th"]
    (folder / "encoder.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "vocab.bpe").write_text("#version: 0.2\nt h\n")
    (folder / "dict.txt").write_text("".join(f"{i} {1000 - i}\n" for i in reversed(range(len(tokens)))))
    return folder


def _examples(rng: random.Random, task: str, count: int) -> list[dict[str, object]]:
    labels = LABELS.get(task, ["0", "1"])
    return [
        {
            "i": i,
            "y": labels[i % len(labels)] if i < len(labels) else rng.choice(labels),
            "a": _text(rng),
            "b": _text(rng),
        }
        for i in range(count)
    ]


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(3, 9)))


def _write(path: Path, header: str | None, row: str, examples: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ([header] if header else []) + [row.format(**example) for example in examples]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
