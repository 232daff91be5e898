"""Writes tests/fixtures/batches.json: batches of fairseq 0.12's sentence_prediction (on made-up data and RTE),
sentence_ranking and masked_lm.

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path, and with the real data (see tests/conftest.py) for the RTE part:

    FAIRSEQ_TEST_DATA=DATA python tests/conformance/make_batch_fixtures.py

The made-up data are in the file too, whole batches included. Of RTE (GPT-2 BPE ids of the first lines of train) the
file has ids, labels and a checksum of the tokens of each batch. test_batches.py does the same with ours.
"""

import hashlib
import json
import os
import types
from pathlib import Path

HERE = Path(__file__).resolve()
OUT = HERE.parents[1] / "fixtures" / "batches.json"
RTE_LINES = 120

BASE = {
    "num_classes": 3,
    "init_token": 0,
    "separator_token": 2,
    "no_shuffle": False,
    "shorten_method": "none",
    "shorten_data_split_list": "",
    "add_prev_output_tokens": False,
    "max_positions": 512,
    "regression_target": False,
    "classification_head_name": "sentence_classification_head",
    "seed": 1,
    "d2v2_multi": False,
}
CASES = [
    # data, task options, batching options, epochs
    ("pairs", {}, {"max_sentences": 4}, (1, 2)),
    ("pairs", {"seed": 7}, {"max_sentences": 16, "max_tokens": 60}, (1, 3)),
    ("pairs", {"no_shuffle": True}, {"max_tokens": 50}, (1,)),
    ("pairs", {"max_positions": 12}, {"max_sentences": 5, "max_positions": 12, "ignore_invalid_inputs": True}, (1,)),
    ("pairs", {"max_positions": 9, "shorten_method": "truncate"}, {"max_sentences": 6, "max_positions": 9}, (1,)),
    ("pairs", {"max_positions": 9, "shorten_method": "random_crop", "seed": 3}, {"max_sentences": 6}, (1, 2)),
    (
        "pairs",
        {"init_token": None, "separator_token": None, "add_prev_output_tokens": True},
        {"max_sentences": 7},
        (1,),
    ),
    ("pairs", {}, {"max_sentences": 4, "num_shards": 2, "shard_id": 1}, (1,)),
    ("single", {"num_classes": 2}, {"max_sentences": 5}, (1,)),
    ("numbers", {"num_classes": 1, "regression_target": True}, {"max_sentences": 5}, (1,)),
]
MASKED_LM = {
    "sample_break_mode": "none",
    "tokens_per_sample": 12,
    "mask_prob": 0.15,
    "leave_unmasked_prob": 0.1,
    "random_token_prob": 0.1,
    "freq_weighted_replacement": False,
    "mask_whole_words": False,
    "mask_multiple_length": 1,
    "mask_stdev": 0.0,
    "shorten_method": "none",
    "shorten_data_split_list": "",
    "seed": 1,
    "include_target_tokens": False,
    "include_index": True,
    "skip_masking": False,
    "d2v2_multi": False,
}
MASKED_LM_CASES = [
    ("text", {}, {"max_sentences": 6}, (1, 2)),
    ("text", {"sample_break_mode": "complete", "seed": 5}, {"max_tokens": 48}, (1, 3)),
    ("text", {"sample_break_mode": "eos", "include_target_tokens": True}, {"max_tokens": 40}, (1,)),
    ("text", {"sample_break_mode": "complete_doc", "tokens_per_sample": 20}, {"max_sentences": 4}, (1,)),
    ("text", {"mask_prob": 0.4, "random_token_prob": 0.5, "leave_unmasked_prob": 0.3}, {"max_sentences": 8}, (1,)),
    (
        "text",
        {"mask_prob": 0.4, "freq_weighted_replacement": True, "random_token_prob": 0.9},
        {"max_sentences": 8},
        (1,),
    ),
    ("text", {"mask_prob": 0.4, "mask_multiple_length": 3, "mask_stdev": 1.0}, {"max_sentences": 8}, (1,)),
    (
        "text",
        {"shorten_method": "truncate", "tokens_per_sample": 5, "sample_break_mode": "eos"},
        {"max_sentences": 8},
        (1,),
    ),
]
RANKING = {
    "num_classes": 3,
    "init_token": 0,
    "separator_token": 2,
    "no_shuffle": False,
    "shorten_method": "none",
    "shorten_data_split_list": "",
    "max_option_length": None,
    "max_positions": 512,
    "ranking_head_name": "sentence_classification_head",
    "seed": 1,
}
RANKING_CASES = [
    ("choices", {}, {"max_sentences": 4}, (1, 2)),
    ("choices", {"seed": 7, "num_classes": 2}, {"max_tokens": 60}, (1,)),
    ("choices", {"no_shuffle": True, "max_option_length": 3}, {"max_tokens": 40}, (1,)),
    ("choices", {"init_token": None, "separator_token": None}, {"max_sentences": 9}, (1,)),
    ("choices", {"max_positions": 9, "shorten_method": "truncate"}, {"max_sentences": 6, "max_positions": 9}, (1,)),
]
RTE_CASES = [
    ("rte", {"num_classes": 2}, {"max_sentences": 16, "max_tokens": 4400, "max_positions": 512}, (1, 2)),
    ("rte", {"num_classes": 2, "seed": 42}, {"max_sentences": 8, "max_tokens": 600, "max_positions": 512}, (1,)),
]


def made_up_data() -> dict:
    """Name -> file -> lines; the words are `w0 ... w19`."""

    def text(seed: int, count: int) -> list:
        return [
            " ".join(f"w{(3 * i + j * j + seed) % 20}" for j in range(1 + (7 * i + seed) % 9)) for i in range(count)
        ]

    count = 29
    labels = [["yes", "no", "maybe"][(i * i) % 7 % 3] for i in range(count)]
    pairs = {"input0": text(0, count), "input1": text(5, count), "label": labels}
    single = {"input0": text(2, count), "label": [str(i % 2) for i in range(count)]}
    numbers = {**pairs, "label": [f"{(i * 37 % 50) / 10}" for i in range(count)]}
    choices = {f"input{k}": text(11 * k, count) for k in range(4)}
    choices["label"] = [str(i * i % 5 % 2) for i in range(count)]
    # an empty line ends a document
    documents = {"": [line if i % 6 else "" for i, line in enumerate(text(4, 40))]}
    return {"pairs": pairs, "single": single, "numbers": numbers, "choices": choices, "text": documents}


def rte_data(data: Path, encode) -> dict:
    """The first lines of RTE's training set as BPE ids; `encode` turns a text into ids."""
    rows = [line.split("\t") for line in (data / "glue/RTE/train.tsv").read_text(encoding="utf-8").split("\n")]
    rows = rows[1 : 1 + RTE_LINES]
    texts = [[" ".join(map(str, encode(row[column]))) for row in rows] for column in (1, 2)]
    return {"input0": texts[0], "input1": texts[1], "label": [row[3] for row in rows]}


def checksum(values) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def seed_of(task) -> int:
    return (getattr(task, "cfg", None) or task.args).seed


def make_batches(task, batching: dict, epochs: tuple, in_full: bool) -> list:
    """Batches of the training set of some epochs, in the order of training, as plain lists."""
    task.load_dataset("train")
    made = []
    for epoch in epochs:
        task.dataset("train").set_epoch(epoch)
        itr = task.get_batch_iterator(
            task.dataset("train"), epoch=epoch, seed=seed_of(task), disable_iterator_cache=True, **batching
        ).next_epoch_itr(shuffle=True)
        for batch in itr:
            if not batch:
                made.append({})
                continue
            tokens = {
                key if part == "net_input" else f"{part}.{key}": value.tolist()
                for part in sorted(batch)
                if part.startswith("net_input")
                for key, value in batch[part].items()
            }
            shape = list(batch["target"].shape)
            plain = {
                "epoch": epoch,
                "id": batch["id"].tolist(),
                "target": batch["target"].reshape(-1).tolist(),
                "target_shape": shape,
                "ntokens": int(batch["ntokens"]),
                "nsentences": int(batch["nsentences"]),
            }
            made.append({**plain, "net_input": tokens if in_full else checksum(tokens)})
    return made


def write_text(folder: Path, files: dict) -> None:
    for name, lines in files.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "train").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main() -> None:
    """Binarise the data with fairseq 0.12, collect its batches and write the file."""
    import shutil
    import subprocess
    import sys
    import tempfile

    import numpy

    numpy.compat = types.SimpleNamespace(long=int)  # fairseq 0.12 reads this name, which NumPy 2 dropped
    from fairseq.data.encoders.gpt2_bpe_utils import get_encoder
    from fairseq.tasks.masked_lm import MaskedLMTask
    from fairseq.tasks.sentence_prediction import SentencePredictionTask
    from fairseq.tasks.sentence_ranking import SentenceRankingTask

    ranking = {**RANKING, "criterion": "sentence_ranking", "dataset_impl": None}
    setups = {"text": (MaskedLMTask, MASKED_LM), "choices": (SentenceRankingTask, ranking)}
    cases = []
    data = Path(os.environ["FAIRSEQ_TEST_DATA"])
    encoder = get_encoder(str(data / "roberta-bpe/encoder.json"), str(data / "roberta-bpe/vocab.bpe"))
    everything = {**made_up_data(), "rte": rte_data(data, encoder.encode)}
    with tempfile.TemporaryDirectory() as scratch:
        for name, files in everything.items():
            folder = Path(scratch, name)
            write_text(folder / "text", files)
            for key in files:
                if name in ("numbers", "choices") and key == "label":
                    (folder / "bin" / key).mkdir()
                    shutil.copy(folder / "text" / key / "train", folder / "bin" / key / "train.label")
                    continue
                command = [sys.executable, "-W", "ignore", "-m", "fairseq_cli.preprocess", "--only-source"]
                command += ["--trainpref", folder / "text" / key / "train", "--destdir", folder / "bin" / key]
                if name == "rte" and key != "label":
                    command += ["--srcdict", data / "roberta-bpe" / "dict.txt"]
                elif key.startswith("input") and key != "input0":
                    command += ["--srcdict", folder / "bin" / "input0" / "dict.txt"]
                subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd=scratch)
        for name, options, batching, epochs in CASES + RTE_CASES + MASKED_LM_CASES + RANKING_CASES:
            task, defaults = setups.get(name, (SentencePredictionTask, BASE))
            cfg = types.SimpleNamespace(data=str(Path(scratch, name, "bin")), **{**defaults, **options})
            batches = make_batches(task.setup_task(cfg), batching, epochs, in_full=name != "rte")
            cases.append({"data": name, "task": options, "batching": batching, "epochs": epochs, "batches": batches})
    OUT.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(cases)} cases in {OUT}")


if __name__ == "__main__":
    main()
