"""Training runs that fairseq 0.12 and ours must print alike, digit for digit: 40 updates at dropout 0 from one start.

Used by make_training_fixtures.py (under fairseq 0.12, with its own preprocessing) and by test_training_runs.py (ours,
and both live). Only plain Python, NumPy and torch are imported here: each side passes in how it runs a command.

    run = RUNS["flags"]
    words = run.words(folder, data, start, "out")        # -> fairseq-train / fairseq-hydra-train
    printed(stdout)                                      # -> [{"tag": "train_inner", "loss": "1.05", ...}, ...]

Batches have any size (`required_batch_size_multiple` 1): with the default of 8 fairseq 0.12.3 drops a last batch that
is smaller, which we do not. Each run is also stopped at `SPLIT`, in mid-epoch, and continued by the other side.
"""

import json
import random
import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

UPDATES = 40
SPLIT = 17
LAYERS, WIDTH, INNER, POSITIONS = 2, 16, 24, 64
CLOCKS = {"wps", "ups", "wall", "train_wall", "gb_free"}
HEAD = "sentence_classification_head"

MODEL_FLAGS = f"""
    --arch roberta_base --encoder-layers {LAYERS} --encoder-embed-dim {WIDTH} --encoder-ffn-embed-dim {INNER}
    --encoder-attention-heads 4 --dropout 0 --attention-dropout 0 --cpu --log-format json --log-interval 1
    --num-workers 0 --no-epoch-checkpoints --save-interval-updates {SPLIT} --required-batch-size-multiple 1
"""
MODEL_YAML = f"""
model: {{_name: roberta, encoder_layers: {LAYERS}, encoder_embed_dim: {WIDTH}, encoder_ffn_embed_dim: {INNER},
  encoder_attention_heads: 4, dropout: 0.0, attention_dropout: 0.0, max_positions: {POSITIONS}}}
"""
COMMON_YAML = """
common: {cpu: true, log_format: json, log_interval: 1, seed: 3}
"""

PAIRS_FLAGS = f"""
    --task sentence_prediction --num-classes 2 --init-token 0 --separator-token 2 --criterion sentence_prediction
    --max-positions {POSITIONS} --shorten-method truncate --batch-size 6
    --optimizer adam --adam-betas (0.9,0.98) --adam-eps 1e-06 --weight-decay 0.1 --clip-norm 2.0 --lr 0.004
    --lr-scheduler polynomial_decay --warmup-updates 6 --total-num-update {UPDATES} --max-update {UPDATES}
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric --seed 1
"""
PAIRS_YAML = f"""# @package _group_
{COMMON_YAML}
task: {{_name: sentence_prediction, data: "???", num_classes: 2, init_token: 0, separator_token: 2,
  max_positions: {POSITIONS}, shorten_method: truncate}}
checkpoint: {{best_checkpoint_metric: accuracy, maximize_best_checkpoint_metric: true, no_epoch_checkpoints: true,
  save_interval_updates: {SPLIT}}}
distributed_training: {{find_unused_parameters: true, distributed_world_size: 1}}
criterion: {{_name: sentence_prediction}}
dataset: {{max_tokens: 90, required_batch_size_multiple: 1, num_workers: 0}}
optimizer: {{_name: adam, weight_decay: 0.1, adam_betas: "(0.9,0.98)", adam_eps: 1e-06}}
lr_scheduler: {{_name: polynomial_decay, warmup_updates: 6, total_num_update: {UPDATES}}}
optimization: {{clip_norm: 0.0, lr: [4e-03], max_update: {UPDATES}, update_freq: [2]}}
{MODEL_YAML}
"""
TEXT_FLAGS = f"""
    --task masked_lm --criterion masked_lm --tokens-per-sample 24 --max-positions {POSITIONS}
    --sample-break-mode complete --mask-prob 0.2 --random-token-prob 0.2 --max-tokens 120
    --optimizer adam --adam-betas (0.9,0.98) --clip-norm 1.0 --lr 0.005
    --lr-scheduler inverse_sqrt --warmup-updates 8 --warmup-init-lr 1e-07 --max-update {UPDATES}
    --update-freq 2,1 --seed 11
"""
TEXT_YAML = f"""# @package _group_
{COMMON_YAML}
task: {{_name: masked_lm, data: "???", tokens_per_sample: 24, sample_break_mode: none}}
checkpoint: {{no_epoch_checkpoints: true, save_interval_updates: {SPLIT}}}
criterion: masked_lm
dataset: {{batch_size: 5, required_batch_size_multiple: 1, num_workers: 0, ignore_unused_valid_subsets: true}}
optimizer: {{_name: adam, weight_decay: 0.01, adam_betas: "(0.9,0.98)", adam_eps: 1e-06}}
lr_scheduler: {{_name: polynomial_decay, warmup_updates: 10, total_num_update: {UPDATES}}}
optimization: {{clip_norm: 0.0, lr: [0.005], max_update: {UPDATES}}}
{MODEL_YAML}
"""


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        command: `train` or `hydra_train`.
        data: `pairs`, `text`, or `rte` (real, where it is at hand).
        settings: flags, or YAML.
    """

    command: str
    data: str
    settings: str

    def words(self, folder: Path, data: Path, start: Path, save_dir: Path, *, resume: bool) -> list[str]:
        """The command line.

        Args:
            folder: for the YAML file.
            start: weights to begin with; with `resume` a checkpoint to go on from.
        """
        if self.command == "train":
            resets = [] if resume else RESETS
            words = [str(data), *MODEL_FLAGS.split(), *self.settings.split(), *resets]
            return [*words, "--restore-file", str(start), "--save-dir", str(save_dir)]
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / "run.yaml").write_text(self.settings)
        words = ["--config-dir", str(folder / "config"), "--config-name", "run", f"task.data={data}"]
        words += [f"checkpoint.restore_file={start}", f"checkpoint.save_dir={save_dir}"]
        words += [f"hydra.run.dir={folder}/hydra"]
        return words if resume else words + [f"checkpoint.{name[2:].replace('-', '_')}=true" for name in RESETS]


KEPT = ("pairs by flags", "masked by YAML")  # runs whose checkpoint at SPLIT is a fixture
RESETS = ["--reset-optimizer", "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler"]
RUNS = {
    "pairs by flags": Run("train", "pairs", PAIRS_FLAGS),
    "pairs by YAML": Run("hydra_train", "pairs", PAIRS_YAML),
    "masked by flags": Run("train", "text", TEXT_FLAGS),
    "masked by YAML": Run("hydra_train", "text", TEXT_YAML),
    "RTE by flags": Run("train", "rte", PAIRS_FLAGS),
    "RTE by YAML": Run("hydra_train", "rte", PAIRS_YAML.replace("max_tokens: 90", "batch_size: 4")),
}


def printed(output: str) -> list[dict[str, str]]:
    """What a run printed with `--log-format json`, one dict a line, clocks left out."""
    lines = []
    for tag, text in re.findall(r'\b(train_inner|train|valid)\b[^{\n]{0,40}(\{".*\})$', output, flags=re.MULTILINE):
        values = json.loads(text)
        lines.append({"tag": tag, **{k: v for k, v in values.items() if k.removeprefix(f"{tag}_") not in CLOCKS}})
    return lines


def after(lines: list[dict[str, str]], update: int) -> list[dict[str, str]]:
    """Those of `lines` that tell of updates after number `update`."""

    def number(line: dict[str, str]) -> int:
        return int(line.get("num_updates") or line.get(f"{line['tag']}_num_updates") or 0)

    return [line for line in lines if number(line) > update]


# -- data and weights --------------------------------------------------------------------------------------------------


def write_pairs(folder: Path) -> None:
    """Pairs of sentences of made-up words; label 1 where the second one begins as the first one does."""
    draw = random.Random(0)
    for split, count in (("train", 70), ("valid", 23)):
        columns: dict[str, list[str]] = {"input0": [], "input1": [], "label": []}
        for _ in range(count):
            first, second = ([f"w{draw.randrange(30)}" for _ in range(draw.randrange(2, 12))] for _ in range(2))
            same = draw.random() < 0.5
            columns["input0"].append(" ".join(first))
            columns["input1"].append(" ".join(first[:1] + second if same else second))
            columns["label"].append(str(int(same)))
        _write(folder, split, columns)


def write_text(folder: Path) -> None:
    """Sentences in which each word calls for the next one."""
    draw = random.Random(1)
    for split, count in (("train", 150), ("valid", 20)):
        lines = []
        for _ in range(count):
            word, line = draw.randrange(30), []
            for _ in range(draw.randrange(3, 20)):
                line.append(f"w{word}")
                word = (word * 3 + draw.choice((1, 1, 1, 5))) % 30
            lines.append(" ".join(line))
        _write(folder, split, {"": lines})


def write_rte(folder: Path, glue: Path, encode: Callable[[str], str], lines: int = 96) -> None:
    """The first lines of RTE's training and development sets; `encode` turns a sentence into BPE ids."""
    for split, source in (("train", "train"), ("valid", "dev")):
        rows = (glue / "RTE" / f"{source}.tsv").read_text(encoding="utf-8").split("\n")[1 : lines + 1]
        cells = [row.split("\t") for row in rows]
        _write(
            folder,
            split,
            {
                "input0": [encode(row[1]) for row in cells],
                "input1": [encode(row[2]) for row in cells],
                "label": [row[3] for row in cells],
            },
        )


def _write(folder: Path, split: str, columns: dict[str, list[str]]) -> None:
    for name, lines in columns.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / split).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def binarise(folder: Path, preprocess: Callable[[list[str]], None]) -> Path:
    """`folder/bin` from the text in `folder/text`; `preprocess` runs fairseq-preprocess with the given words."""
    parts = [path.name for path in sorted((folder / "text").iterdir()) if path.is_dir()] or [""]
    for name in parts:  # input1 takes the dictionary of input0, which holds nearly all its words; the rest is <unk>
        source, target = folder / "text" / name, folder / "bin" / name
        words = ["--only-source", f"--trainpref={source}/train", f"--validpref={source}/valid", f"--destdir={target}"]
        if name == "input1":
            words.append(f"--srcdict={folder}/bin/input0/dict.txt")
        preprocess([*words, "--workers=1"])
    return folder / "bin"


def write_start(path: Path, dictionary: Path, classes: int) -> Path:
    """Weights to begin with, in a file as fairseq wrote them in 2019: flags in `args`, no `cfg`.

    The numbers come from NumPy's legacy generator, whose stream is the same everywhere.
    """
    vocabulary = len(dictionary.read_text(encoding="utf-8").splitlines()) + 5  # four specials and <mask>
    draw = np.random.RandomState(7)
    weights: dict[str, torch.Tensor] = {}

    def linear(name: str, out: int, into: int) -> None:
        weights[f"{name}.weight"] = torch.tensor(draw.randn(out, into) / into**0.5, dtype=torch.float32)
        weights[f"{name}.bias"] = torch.tensor(draw.randn(out) * 0.05, dtype=torch.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = torch.tensor(1 + draw.randn(WIDTH) * 0.1, dtype=torch.float32)
        weights[f"{name}.bias"] = torch.tensor(draw.randn(WIDTH) * 0.1, dtype=torch.float32)

    encoder = "encoder.sentence_encoder"
    for name, rows in (("embed_tokens", vocabulary), ("embed_positions", POSITIONS + 2)):
        weights[f"{encoder}.{name}.weight"] = torch.tensor(draw.randn(rows, WIDTH) * 0.3, dtype=torch.float32)
        weights[f"{encoder}.{name}.weight"][1] = 0  # padding
    norm(f"{encoder}.layernorm_embedding")
    for layer in range(LAYERS):
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            linear(f"{encoder}.layers.{layer}.self_attn.{name}", WIDTH, WIDTH)
        norm(f"{encoder}.layers.{layer}.self_attn_layer_norm")
        linear(f"{encoder}.layers.{layer}.fc1", INNER, WIDTH)
        linear(f"{encoder}.layers.{layer}.fc2", WIDTH, INNER)
        norm(f"{encoder}.layers.{layer}.final_layer_norm")
    weights["encoder.lm_head.weight"] = weights[f"{encoder}.embed_tokens.weight"]
    weights["encoder.lm_head.bias"] = torch.zeros(vocabulary)
    linear("encoder.lm_head.dense", WIDTH, WIDTH)
    norm("encoder.lm_head.layer_norm")
    if classes:
        linear(f"classification_heads.{HEAD}.dense", WIDTH, WIDTH)
        linear(f"classification_heads.{HEAD}.out_proj", classes, WIDTH)
    args = Namespace(arch="roberta_base", task="masked_lm", criterion="masked_lm", max_positions=POSITIONS)
    args.encoder_layers, args.encoder_embed_dim, args.encoder_ffn_embed_dim = LAYERS, WIDTH, INNER
    args.encoder_attention_heads, args.tokens_per_sample, args.data = 4, POSITIONS, "."
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {"best": None}, "num_updates": 0}
    extra = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}}
    torch.save({"args": args, "model": weights, "optimizer_history": [history], "extra_state": extra}, path)
    return path
