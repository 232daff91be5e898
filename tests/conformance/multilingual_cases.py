"""Runs with several pairs of languages that fairseq 0.12 and ours must print alike, digit for digit, at dropout 0.

As translation_cases.py; used by make_multilingual_fixtures.py (under fairseq 0.12) and by test_multilingual_runs.py.
"""

import random
import zlib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

UPDATES = 25
COUNTS = {("de", "en"): (90, 20), ("fr", "en"): (40, 12)}  # pairs of sentences to train and to validate
RESETS = ["--reset-optimizer", "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler"]

SIZES = f"""
    --encoder-embed-dim 16 --encoder-ffn-embed-dim 24 --encoder-layers 1 --encoder-attention-heads 4
    --decoder-embed-dim 16 --decoder-ffn-embed-dim 24 --decoder-layers 1 --decoder-attention-heads 4
    --dropout 0 --attention-dropout 0 --activation-dropout 0 --cpu --log-format json --log-interval 1 --num-workers 0
    --required-batch-size-multiple 1 --optimizer adam --max-update {UPDATES} --no-epoch-checkpoints --seed 3
    --save-interval-updates 7
"""
SEVERAL = "--task multilingual_translation --arch multilingual_transformer --lang-pairs de-en,fr-en,en-de"
MIXED = """--task translation_multi_simple_epoch --arch transformer --lang-pairs de-en,fr-en,en-de --langs de,en,fr
    --share-all-embeddings"""
RUNS = {
    "apart": f"{SEVERAL} {SIZES} --max-tokens 60 --lr 0.01",
    "shared, with tokens": f"""{SEVERAL} {SIZES} --encoder-langtok tgt --decoder-langtok --share-encoders
        --share-decoders --share-all-embeddings --batch-size 5 --update-freq 2 --lr 0.02 --left-pad-source False
        --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --clip-norm 1""",
    "mixed by temperature": f"""{MIXED} {SIZES} --encoder-langtok src --decoder-langtok --max-tokens 60 --lr 0.01
        --sampling-method temperature --sampling-temperature 5 --virtual-epoch-size 70""",
    "mixed by weights": f"""{MIXED} {SIZES} --encoder-langtok tgt --decoder-langtok --lang-tok-replacing-bos-eos
        --sampling-weights {{'main:de-en':0.2,'main:fr-en':0.5,'main:en-de':0.3}} --virtual-data-size 90
        --lang-tok-style mbart --batch-size 6 --lr 0.02""",
}


def write_text(folder: Path) -> None:
    """Made-up words, and the same words of another language the other way round."""
    draw = random.Random(4)
    folder.mkdir(parents=True, exist_ok=True)
    for (source, target), (train, valid) in COUNTS.items():
        for split, count in (("train", train), ("valid", valid), ("test", 9)):
            sides: dict[str, list[str]] = {source: [], target: []}
            for _ in range(count):
                numbers = [draw.randrange(16) for _ in range(draw.randrange(2, 9))]
                sides[source].append(" ".join(f"{source}{i}" for i in numbers))
                sides[target].append(" ".join(f"{target}{i}" for i in reversed(numbers)))
            for language, lines in sides.items():
                path = folder / f"{split}.{source}-{target}.{language}"
                path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    everything = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("train.*")))
    (folder / "all.txt").write_text(everything, encoding="utf-8")


def binarise(folder: Path, preprocess: Callable[[list[str]], None]) -> Path:
    """`folder/bin`, with one dictionary for all languages, from `folder/text`."""
    text, data = folder / "text", folder / "bin"
    preprocess(["--only-source", "-s", "txt", f"--trainpref={text}/all", f"--destdir={folder}/joined", "--dict-only"])
    joined = folder / "joined" / "dict.txt.txt"
    for source, target in COUNTS:
        prefixes = [f"--{split}pref={text}/{split}.{source}-{target}" for split in ("train", "valid", "test")]
        dictionaries = [f"--srcdict={joined}", f"--tgtdict={joined}"]
        preprocess(["-s", source, "-t", target, *prefixes, *dictionaries, f"--destdir={data}", "--workers=1"])
    return data


def words(name: str, data: Path, save_dir: Path, start: Path, *, resume: bool) -> list[str]:
    """The command line of a run."""
    line = [str(data), *RUNS[name].split(), "--save-dir", str(save_dir), "--restore-file", str(start)]
    return line if resume else line + RESETS


def write_start(path: Path, line: list[str]) -> Path:
    """Weights to begin with, in a file as fairseq wrote them in 2019, for the model of a command line.

    The numbers come from NumPy's legacy generator, whose stream is the same everywhere, one for each name.
    """
    from fairseq import options, tasks

    args = options.parse_args_and_arch(options.get_training_parser(), line)
    weights = tasks.setup_task(args).build_model(args).state_dict()
    filled: dict[int, torch.Tensor] = {}
    for name, weight in weights.items():
        if weight.numel() < 2:  # versions
            continue
        if weight.data_ptr() not in filled:
            draw = np.random.RandomState(zlib.crc32(name.encode()))
            values = draw.randn(*weight.shape) * (0.1 if weight.dim() == 1 else weight.shape[-1] ** -0.5)
            values = values + (1 if "norm.weight" in name else 0)
            filled[weight.data_ptr()] = torch.tensor(values, dtype=torch.float32)
            if "embed_tokens" in name:
                filled[weight.data_ptr()][1] = 0  # padding
        weights[name] = filled[weight.data_ptr()]
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {"best": None}, "num_updates": 0}
    extra = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}}
    namespace = Namespace(arch=args.arch, task=args.task, data=".")
    torch.save({"args": namespace, "model": dict(weights), "optimizer_history": [history], "extra_state": extra}, path)
    return path
