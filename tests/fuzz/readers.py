"""Everything that reads files, with valid files for it.

A reader is `READERS[name]`: `write` makes its files in a folder, `read` takes them all in. Files whose contents are
nested data (checkpoints, JSON, YAML) are also damaged at that level, where damage to bytes hardly gets.
"""

import io
import itertools
import json
import logging
import os
import pickle
import shutil
import signal
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
import yaml

from fairseq import checkpoint_utils, tasks
from fairseq.data import Dictionary, indexed_dataset
from fairseq.data import download_manifest as manifest
from fairseq.data.binarize import FileBinarizer, VocabularyDatasetBinarizer
from fairseq.data.encoders import hf_tokenizer
from fairseq.data.encoders.byte_level import ByteLevelBPE, byte_alphabet
from fairseq.data.glue import archive, prepare
from fairseq.data.glue.mrpc import split_published
from fairseq.data.glue.tasks import TASKS, read_split
from fairseq.data.ragged import BatchReader
from fairseq.data.splits import load_indexed_dataset
from fairseq.dataclass.finish import finish
from fairseq.dataclass.initialize import compose
from fairseq.dataclass.typed import typed_config
from fairseq.dataclass.utils import to_container
from fairseq.errors import ConfigError, DataError
from fairseq.interop.hf_import import import_encoder
from fairseq.logging.history import History, read_history
from fairseq.quantization.plan import latency, latency_cache
from fairseq.quantization.plan.config import read_config
from fairseq.studies.records import find_runs
from fairseq.tokenizer import tokenize_line

FIXTURES = Path(__file__).parent.parent / "fixtures"
WORDS = "abcdefgh"


@dataclass(frozen=True)
class Reader:
    """Attributes:
    write: makes valid files in a folder.
    read: takes the folder and a folder to write to.
    damaged: patterns of the files that are damaged; the others stay valid.
    nested: suffixes of files that also get damage to their nested data.
    """

    write: Callable[[Path], None]
    read: Callable[[Path, Path], None]
    damaged: tuple[str, ...] = ("**/*",)
    nested: tuple[str, ...] = ()


# -- nested data in files ----------------------------------------------------------------------------------------------


def load_nested(name: str, content: bytes) -> Any:
    if name.endswith((".pt", ".bin")):
        return torch.load(io.BytesIO(content), weights_only=False)
    return yaml.safe_load(content) if name.endswith(".yaml") else json.loads(content)


def dump_nested(name: str, value: Any) -> Optional[bytes]:
    """None where the format cannot hold the value."""
    try:
        if name.endswith((".pt", ".bin")):
            buffer = io.BytesIO()
            torch.save(value, buffer)
            return buffer.getvalue()
        return (yaml.safe_dump(value) if name.endswith(".yaml") else json.dumps(value)).encode()
    except (TypeError, ValueError, yaml.YAMLError, RuntimeError, pickle.PicklingError):
        return None


# -- data --------------------------------------------------------------------------------------------------------------


def dictionary(path: Path, words: str = WORDS) -> Dictionary:
    made = Dictionary()
    for word in words:
        made.add_symbol(word, 3)
    made.save(str(path))
    return made


def write_items(prefix: Path, items: list[list[int]], impl: str = "mmap") -> None:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl, 100)
    for item in items:
        builder.add_item(torch.tensor(item, dtype=torch.int64))
    builder.finalize(f"{prefix}.idx")


ITEMS = [[4, 5, 2], [6, 2], [2], [7, 8, 9, 10, 2]]


def write_pair(impl: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        dictionary(folder / "dict.txt")
        write_items(folder / "train", ITEMS, impl)

    return write


def read_pair(folder: Path, out: Path) -> None:
    data = load_indexed_dataset(str(folder / "train"), Dictionary.load(str(folder / "dict.txt")))
    if data is None:
        return
    indices = list(range(len(data)))
    for index in indices:
        data[index], data.size(index), data.num_tokens(index)
    if hasattr(data, "gather"):
        BatchReader(indices).gather(data)
        if indices:
            data.read_range(0, len(data) - 1)
    data.num_tokens_vec(indices)


def read_dictionary(folder: Path, out: Path) -> None:
    found = Dictionary.load(str(folder / "dict.txt"))
    found.encode_line("a b <unk> zz", add_if_not_exist=False)
    found.string(torch.arange(len(found)))
    found.save(str(out / "dict.txt"))


def read_text(folder: Path, out: Path) -> None:
    words = Dictionary()
    Dictionary.add_file_to_dictionary(str(folder / "train"), words, tokenize_line, 1)
    words.finalize()
    binarizer = VocabularyDatasetBinarizer(words)
    FileBinarizer.multiprocess_dataset(str(folder / "train"), "mmap", binarizer, str(out / "train"))
    load_indexed_dataset(str(folder / "train"), words, "raw")


def write_pairs(folder: Path) -> None:
    for part in ("input0", "input1", "input2"):
        write_items(folder / part / "train", [[4, 2], [5, 6, 2], [7, 2]])
        dictionary(folder / part / "dict.txt")
    write_items(folder / "label" / "train", [[4], [5], [4]])
    dictionary(folder / "label" / "dict.txt", "ny")
    (folder / "label" / "train.label").write_text("0\n1\n1\n")
    write_items(folder / "train", ITEMS)
    dictionary(folder / "dict.txt")


def read_batches(name: str, **settings: Any) -> Callable[[Path, Path], None]:
    def read(folder: Path, out: Path) -> None:
        task = {"_name": name, "data": str(folder), **settings}
        loaded = tasks.setup_task(finish(typed_config({"task": task})).task)
        loaded.load_dataset("train")
        itr = loaded.get_batch_iterator(loaded.dataset("train"), max_sentences=2)
        list(itr.next_epoch_itr(shuffle=False))

    return read


# -- GLUE --------------------------------------------------------------------------------------------------------------


def write_bpe(folder: Path) -> None:
    letters = sorted(byte_alphabet().values())
    vocab = {letter: index for index, letter in enumerate([*letters, "th", "Ġth", "the"])}
    (folder / "encoder.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "vocab.bpe").write_text("#version: 0.2\nt h\nĠ th\nth e\n", encoding="utf-8")
    words = Dictionary()
    for index in vocab.values():
        words.add_symbol(str(index))
    words.save(str(folder / "dict.txt"))


def write_glue(folder: Path) -> None:
    for name in ("RTE", "CoLA", "STS-B", "MRPC", "bpe"):
        (folder / name).mkdir()
    write_bpe(folder / "bpe")
    for split in ("train", "dev"):
        (folder / "RTE" / f"{split}.tsv").write_text(
            "index\tsentence1\tsentence2\tlabel\n0\tthe cat\tit's é\tentailment\n1\ta\tb\tnot_entailment\n"
        )
        (folder / "CoLA" / f"{split}.tsv").write_text("x\t1\t\tthe cat\ny\t0\t*\tcat the\n")
        (folder / "STS-B" / f"{split}.tsv").write_text("sentence1\tsentence2\tscore\nthe\ta\t2.5\na\tb\t5.0\n")
    rows = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t11\t12\tthe\ta\n0\t13\t14\tb\tc\n1\t15\t16\td\te\n"
    (folder / "MRPC" / "msr_paraphrase_train.txt").write_text("\ufeff" + rows)
    (folder / "MRPC" / "msr_paraphrase_test.txt").write_text(rows)
    (folder / "MRPC" / "dev_ids.tsv").write_text("13\t14\n")


def read_glue(folder: Path, out: Path) -> None:
    split_published(folder / "MRPC", out / "MRPC")
    for name in ("CoLA", "STS-B"):
        for split in ("train", "valid"):
            read_split(TASKS[name], folder / name, split)
    prepare.prepare("RTE", folder, out / "RTE", folder / "bpe")


def write_archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "RTE.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("RTE/train.tsv", "the cat sat on the mat\n" * 20)
        packed.writestr("RTE/deep/dev.tsv", "b" * 50)
        packed.writestr(zipfile.ZipInfo("RTE/stored.tsv"), "c" * 50)
    manifest.record(folder / "RTE.zip")


def read_archive(folder: Path, out: Path) -> None:
    manifest.is_as_recorded(folder / "RTE.zip")
    shutil.copyfile(folder / "manifest.json", out / "manifest.json")
    shutil.copyfile(folder / "RTE.zip", out / "RTE.zip")
    manifest.record(out / "RTE.zip")
    archive.extract(out / "RTE.zip", out / "RTE", "RTE")


# -- tokenizers and Hugging Face ---------------------------------------------------------------------------------------


def write_tokenizers(folder: Path) -> None:
    write_bpe(folder)
    shutil.copyfile(FIXTURES / "hf" / "xlmr" / "tokenizer.json", folder / "tokenizer.json")
    shutil.copyfile(FIXTURES / "hf" / "bert" / "vocab.txt", folder / "vocab.txt")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')


TEXT = "The cat's  mat: 12 é\u2028"


def read_bpe(folder: Path, out: Path) -> None:
    bpe = ByteLevelBPE(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    for ids in (bpe.encode(TEXT), *bpe.encode_batch([TEXT, ""])):
        bpe.decode(ids)


def read_tokenizer(folder: Path, out: Path) -> None:
    hf_tokenizer.from_json(str(folder / "tokenizer.json")).encode(TEXT)


def read_pieces(folder: Path, out: Path) -> None:
    hf_tokenizer.wordpiece(str(folder / "vocab.txt"), not hf_tokenizer.lower_case(folder)).encode(TEXT)


def copied(name: str, pickled: bool = False) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for path in (FIXTURES / "hf" / name).iterdir():
            if path.name != "expected.safetensors":
                shutil.copyfile(path, folder / path.name)
        if pickled:
            from safetensors.torch import load_file

            torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model-1.bin")
            (folder / "model.safetensors").unlink()
            index = {"weight_map": {"x": "pytorch_model-1.bin", "y": "pytorch_model-1.bin"}}
            (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))

    return write


def read_hf(folder: Path, out: Path) -> None:
    import_encoder(folder, out / "imported")


# -- checkpoints -------------------------------------------------------------------------------------------------------


def small_model(**settings: Any) -> dict[str, Any]:
    shape = {"encoder_layers": 1, "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 8, "encoder_attention_heads": 2}
    return {"_name": "roberta", **shape, "max_positions": 16, **settings}


def small_run(data: Path, quantization: str = "none") -> dict[str, Any]:
    """A checkpoint's contents after an epoch of a trainer."""
    trainer = small_trainer(data, quantization)
    itr = trainer.get_train_iterator(1)
    batches = itr.next_epoch_itr(shuffle=False)
    trainer.begin_epoch(1)
    for batch in batches:
        trainer.train_step([batch])
    from fairseq.training import state

    built = state.build(trainer, {"train_iterator": itr.state_dict(), "val_loss": 0.5, "best": 0.5})
    built["cfg"]["task"]["data"] = "no-such-folder"
    return built


def small_trainer(data: Path, quantization: str = "none") -> Any:
    from fairseq.trainer import Trainer
    from fairseq.training.quantize import quantize

    config = {
        "common": {"cpu": True},
        "task": {"_name": "masked_lm", "data": str(data), "tokens_per_sample": 8},
        "model": small_model(),
        "criterion": {"_name": "masked_lm"},
        "optimizer": {"_name": "adam"},
        "lr_scheduler": {"_name": "inverse_sqrt", "warmup_updates": 3},
        "dataset": {"batch_size": 1},
        "optimization": {"max_update": 100},
        "quantization": {"preset": quantization},
    }
    cfg = finish(typed_config(config))
    task = tasks.setup_task(cfg.task)
    task.load_dataset("train")
    model = quantize(task.build_model(cfg.model), cfg.quantization)
    return Trainer(cfg, task, model, task.build_criterion(cfg.criterion))


def write_checkpoint(quantization: str = "none", zipped: bool = True) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "data").mkdir()
        write_pair("mmap")(folder / "data")
        state = small_run(folder / "data", quantization)
        torch.save(state, folder / "checkpoint_last.pt", _use_new_zipfile_serialization=zipped)

    return write


def write_packed(folder: Path) -> None:
    from fairseq.checkpoint_tools.quantize import quantize_checkpoint

    write_checkpoint("int8")(folder)
    quantize_checkpoint(str(folder / "checkpoint_last.pt"), str(folder / "packed.pt"), data=folder / "data")
    (folder / "checkpoint_last.pt").replace(folder / "data" / "unpacked")


def write_old(folder: Path) -> None:
    for name in ("argparse.pt", "hydra.pt"):
        state = torch.load(FIXTURES / "checkpoints" / name, weights_only=False)
        state["cfg"] = None if state.get("cfg") is None else to_container(state["cfg"])
        del state["last_optimizer_state"]  # large
        torch.save(state, folder / name)


def read_model(folder: Path, out: Path) -> None:
    overrides = {} if (folder / "data").exists() else {"data": str(FIXTURES / "checkpoints" / "data")}
    for path in sorted(folder.glob("*.pt")):
        models, _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], overrides)
        models[0].eval()


def read_resumed(folder: Path, out: Path) -> None:
    trainer = small_trainer(folder / "data", "cpt_4_8" if (folder / "cpt").exists() else "none")
    cfg = trainer.cfg.checkpoint
    cfg.save_dir = str(folder)
    checkpoint_utils.load_checkpoint(cfg, trainer)


def write_cpt(folder: Path) -> None:
    write_checkpoint("cpt_4_8")(folder)
    (folder / "cpt").mkdir()


# -- configs and side files --------------------------------------------------------------------------------------------


def write_yaml(folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "base.yaml").write_text(
        "# @package _group_\ndefaults:\n  - model: small\n  - optional quantization: int8\ncommon:\n  seed: 1\n"
        "  log_format: json\ntask:\n  _name: masked_lm\n  data: ${env:PATH}\ncriterion: masked_lm\noptimizer:\n"
        "  _name: adam\n  adam_betas: (0.9,0.98)\noptimization:\n  lr: [0.0005]\n  max_update: 10\n"
        "dataset: &dataset\n  batch_size: 4\nquantization:\n  rules:\n  - {match: '*.weight', bits: 4}\n"
    )
    (folder / "model" / "small.yaml").write_text("_name: roberta\nencoder_layers: 2\ndropout: 0.1\n")


def read_yaml(folder: Path, out: Path) -> None:
    compose("base", folder)


def write_history(folder: Path) -> None:
    history = History.in_folder(folder)
    for step in range(1, 6):
        history.append("train_inner", {"loss": 1.0 / step, "lr": 1e-3}, step)
    (folder / "log.log").write_text(
        '2026-11-21 10:00:00 | INFO | train_inner | {"epoch": 1, "loss": "0.69", "num_updates": "200"}\n'
        "[2026-11-21 10:00:00,000][valid][INFO] - epoch 001 | valid on 'valid' subset | loss 0.65 | num_updates 312\n"
    )


def read_runs(folder: Path, out: Path) -> None:
    read_history(folder)
    shutil.copyfile(folder / "history.jsonl", out / "history.jsonl")
    History.in_folder(out).truncate(3)
    for path in (folder, folder / "log.log"):
        for run in find_runs(path):
            run.last_update(), [run.series("train_inner", key) for key in run.reported()]


def write_plan(folder: Path) -> None:
    from dataclasses import asdict

    saved = {"config": asdict(read_config({"preset": "cpt_4_8", "rules": [{"match": "*.weight", "bits": 4}]}))}
    (folder / "quantization_plan.json").write_text(json.dumps(saved, default=dict))


def read_plan(folder: Path, out: Path) -> None:
    """The settings of a plan, as checkpoints and configs bring them too."""
    from fairseq.interop.hf_files import read_json
    from fairseq.quantization import quantize_model

    saved = read_json(folder / "quantization_plan.json")
    if not isinstance(saved, dict) or not isinstance(saved.get("config"), dict):
        raise ConfigError("no settings")
    quantize_model(torch.nn.Sequential(torch.nn.Linear(4, 4)), read_config(saved["config"]))


def write_costs(folder: Path) -> None:
    ways = {"simulate": [1e-12, 1e-9, 1e-4], "integer": [1e-12, 1e-9, 1e-4]}
    costs = {"this machine": {"sources": "x", "linear": ways, "attention": ways}}
    (folder / "integer_costs.json").write_text(json.dumps(costs))


def read_costs(folder: Path, out: Path) -> None:
    for entry in latency_cache._read(folder / "integer_costs.json").values():
        try:
            costs = latency.Latencies.of_lists(entry)
        except (KeyError, OverflowError, TypeError, ValueError):  # what `costs` takes for a file of another version
            continue
        costs.prefers_integers((8, 8)), costs.prefers_integer_attention(1, 8)


READERS: dict[str, Reader] = {
    "dictionary": Reader(lambda folder: dictionary(folder / "dict.txt") and None, read_dictionary),
    "mmap": Reader(write_pair("mmap"), read_pair, ("train.*",)),
    "cached": Reader(write_pair("cached"), read_pair, ("train.*",)),
    "text": Reader(lambda folder: (folder / "train").write_text("a b a\n\nc é\n") and None, read_text),
    "sentence_prediction": Reader(write_pairs, read_batches("sentence_prediction", num_classes=2)),
    "regression": Reader(
        write_pairs, read_batches("sentence_prediction", num_classes=1, regression_target=True), ("label/train.label",)
    ),
    "sentence_ranking": Reader(write_pairs, read_batches("sentence_ranking", num_classes=2), ("label/train.label",)),
    "masked_lm": Reader(
        write_pairs,
        read_batches("masked_lm", tokens_per_sample=4, sample_break_mode="complete"),
        ("train.*", "dict.txt"),
    ),
    "glue": Reader(write_glue, read_glue),
    "archive": Reader(write_archive, read_archive, nested=(".json",)),
    "bpe": Reader(write_tokenizers, read_bpe, ("encoder.json", "vocab.bpe"), (".json",)),
    "tokenizer.json": Reader(write_tokenizers, read_tokenizer, ("tokenizer.json",), (".json",)),
    "vocab.txt": Reader(write_tokenizers, read_pieces, ("vocab.txt", "tokenizer_config.json"), (".json",)),
    "hf roberta": Reader(copied("roberta"), read_hf, nested=(".json",)),
    "hf bert": Reader(copied("bert_classifier"), read_hf, nested=(".json",)),
    "hf xlmr": Reader(copied("xlmr"), read_hf, nested=(".json",)),
    "hf pickled": Reader(copied("roberta", pickled=True), read_hf, nested=(".json", ".bin")),
    "checkpoint": Reader(write_checkpoint(), read_model, ("*.pt",), (".pt",)),
    "checkpoint without zip": Reader(write_checkpoint(zipped=False), read_model, ("*.pt",)),
    "quantized checkpoint": Reader(write_checkpoint("cpt_4_8"), read_model, ("*.pt",), (".pt",)),
    "packed checkpoint": Reader(write_packed, read_model, ("*.pt",), (".pt",)),
    "old checkpoints": Reader(write_old, read_model, ("*.pt",), (".pt",)),
    "resume": Reader(write_checkpoint(), read_resumed, ("*.pt",), (".pt",)),
    "resume quantized": Reader(write_cpt, read_resumed, ("*.pt",), (".pt",)),
    "yaml": Reader(write_yaml, read_yaml, nested=(".yaml",)),
    "history": Reader(write_history, read_runs),
    "plan": Reader(write_plan, read_plan, nested=(".json",)),
    "costs": Reader(write_costs, read_costs, nested=(".json",)),
}


# -- readers with faults, which the runner has to find -----------------------------------------------------------------


def broken(fault: Callable[[], Any]) -> Reader:
    """Has its fault where the file is damaged."""

    def read(folder: Path, out: Path) -> None:
        if (folder / "file").read_bytes() != b"content":
            fault()

    return Reader(lambda folder: (folder / "file").write_bytes(b"content") and None, read)


def two_lines() -> None:
    error = DataError()
    error.args = ("one\ntwo",)  # the constructor would make one line of it
    raise error


def allocates() -> None:
    try:
        bytearray(1 << 40)
    except MemoryError:
        raise DataError("the file is damaged") from None


BROKEN: dict[str, Reader] = {
    "raises": broken(lambda: {}["x"]),
    "two lines": broken(two_lines),
    "allocates": broken(allocates),
    "ends": broken(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "hangs": broken(lambda: any(number < 0 for number in itertools.count())),
}


def _unreadable(folder: Path, out: Path) -> None:
    raise DataError("valid files are not read either")


BROKEN["unreadable"] = Reader(lambda folder: (folder / "file").write_bytes(b"content") and None, _unreadable)


def quiet() -> None:
    """Warnings about damaged files are not what is looked at."""
    logging.disable(logging.CRITICAL)
