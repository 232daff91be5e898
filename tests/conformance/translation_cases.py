"""Translation runs that fairseq 0.12 and ours must print alike, digit for digit: 40 updates at dropout 0.

As training_cases.py, from which the other helpers come; used by make_translation_fixtures.py (under fairseq 0.12) and
by test_translation_runs.py.
"""

import random
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from training_cases import RESETS, UPDATES

WIDTH, INNER, LAYERS = 16, 24, 2
# in the first epoch: fairseq 0.12 puts pairs of equal lengths into another order where it starts in a later one
SPLIT = 7

SIZES = f"""
    --encoder-embed-dim {WIDTH} --encoder-ffn-embed-dim {INNER} --encoder-layers {LAYERS} --encoder-attention-heads 4
    --decoder-embed-dim {WIDTH} --decoder-ffn-embed-dim {INNER} --decoder-layers {LAYERS} --decoder-attention-heads 4
    --dropout 0 --attention-dropout 0 --activation-dropout 0 --cpu --log-format json --log-interval 1 --num-workers 0
    --no-epoch-checkpoints --save-interval-updates {SPLIT} --required-batch-size-multiple 1 --max-update {UPDATES}
"""
SMOOTHED = f"""
    --task translation -s de -t en --arch transformer_iwslt_de_en --share-decoder-input-output-embed {SIZES}
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --max-tokens 70 --update-freq 2,1
    --optimizer adam --adam-betas (0.9,0.98) --weight-decay 0.0001 --clip-norm 1.0 --lr 0.01
    --lr-scheduler inverse_sqrt --warmup-updates 8 --warmup-init-lr 1e-07 --seed 5 --upsample-primary 1
    --ignore-unused-valid-subsets
"""
# two folders, one of which has a second part; long sources are cut, BLEU is the measure
WITH_BLEU = f"""
    --arch transformer_wmt_en_de {SIZES} --combine-valid-subsets
    --criterion label_smoothed_cross_entropy --label-smoothing 0.05 --report-accuracy --batch-size 7
    --truncate-source --max-source-positions 8 --max-target-positions 40 --upsample-primary 2
    --required-seq-len-multiple 2 --optimizer adam --lr 0.008 --lr-scheduler inverse_sqrt --warmup-updates 5
    --eval-bleu --eval-bleu-detok space --eval-bleu-remove-bpe --best-checkpoint-metric bleu
    --maximize-best-checkpoint-metric --seed 2
"""
BLEU_ARGS = '{"beam": 3, "max_len_a": 1.2, "max_len_b": 6, "min_len": 6, "lenpen": 0.8}'
JOINED_YAML = f"""# @package _group_
common: {{cpu: true, log_format: json, log_interval: 1, seed: 9}}
task: {{_name: translation, data: "???", source_lang: de, target_lang: en, max_source_positions: 64,
  max_target_positions: 64, left_pad_source: false, left_pad_target: true, upsample_primary: 1}}
checkpoint: {{no_epoch_checkpoints: true, save_interval_updates: {SPLIT}}}
criterion: {{_name: label_smoothed_cross_entropy, label_smoothing: 0.1}}
dataset: {{max_tokens: 90, required_batch_size_multiple: 1, num_workers: 0, ignore_unused_valid_subsets: true}}
optimizer: {{_name: adam, adam_betas: "(0.9,0.98)"}}
lr_scheduler: {{_name: inverse_sqrt, warmup_updates: 8, warmup_init_lr: 1.0e-07}}
optimization: {{clip_norm: 0.5, lr: [0.02], max_update: {UPDATES}, sentence_avg: true}}
model: {{_name: transformer, share_all_embeddings: true, encoder_normalize_before: true, decoder_normalize_before: true,
  encoder_learned_pos: true, decoder_learned_pos: true, activation_fn: gelu, max_source_positions: 64,
  max_target_positions: 64, encoder_embed_dim: {WIDTH}, encoder_ffn_embed_dim: {INNER}, encoder_layers: {LAYERS},
  encoder_attention_heads: 4, decoder_embed_dim: {WIDTH}, decoder_ffn_embed_dim: {INNER}, decoder_layers: {LAYERS},
  decoder_attention_heads: 4, dropout: 0.0, attention_dropout: 0.0, activation_dropout: 0.0}}
"""


@dataclass(frozen=True)
class Start:
    """Weights to begin with.

    Attributes:
        shared: which embeddings are one: `none`, `decoder` (the decoder's input and output) or `all`.
        learned: learned positions, so many.
        final_norm: layer norms behind the last layers (pre-norm).
    """

    shared: str = "none"
    learned: int = 0
    final_norm: bool = False


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        command: `train` or `hydra_train`.
        data: `apart` or `joined` (one dictionary for both languages).
        settings: flags, or YAML.
    """

    command: str
    data: str
    settings: str
    start: Start
    more: tuple[str, ...] = ()
    folders: int = 1

    def words(self, folder: Path, data: Path, start: Path, save_dir: Path, *, resume: bool) -> list[str]:
        """The command line, as `training_cases.Run.words`."""
        where = ":".join([str(data), str(data.parent / "bin2")][: self.folders])
        if self.command == "train":
            words = [where, *self.settings.split(), *self.more, *([] if resume else RESETS)]
            return [*words, "--restore-file", str(start), "--save-dir", str(save_dir)]
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / "run.yaml").write_text(self.settings)
        words = ["--config-dir", str(folder / "config"), "--config-name", "run", f"task.data={where}"]
        words += [f"checkpoint.restore_file={start}", f"checkpoint.save_dir={save_dir}"]
        words += [f"hydra.run.dir={folder}/hydra"]
        return words if resume else words + [f"checkpoint.{name[2:].replace('-', '_')}=true" for name in RESETS]


RUNS = {
    "smoothed": Run("train", "apart", SMOOTHED, Start("decoder")),
    "with BLEU": Run("train", "apart", WITH_BLEU, Start(), ("--eval-bleu-args", BLEU_ARGS), folders=2),
    "joined by YAML": Run("hydra_train", "joined", JOINED_YAML, Start("all", 64, True)),
}


# -- data and weights --------------------------------------------------------------------------------------------------


def write_pairs(folder: Path) -> None:
    """Sentences of made-up words, and the same words of another language the other way round; some are in pieces."""
    draw = random.Random(3)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 130), ("train1", 25), ("train-b", 60), ("valid", 21), ("valid1", 10), ("test", 14)):
        sides: dict[str, list[str]] = {"de": [], "en": []}
        for _ in range(count):
            numbers = [draw.randrange(24) for _ in range(draw.randrange(2, 11))]
            sides["de"].append(" ".join(f"d{i}@@ x{i % 3}" if i % 4 == 0 else f"d{i}" for i in numbers))
            sides["en"].append(" ".join(f"e{i}@@ y{i % 3}" if i % 5 == 0 else f"e{i}" for i in reversed(numbers)))
        for lang, lines in sides.items():
            (folder / f"{name}.{lang}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def binarise(folder: Path, joined: bool, preprocess: Callable[[list[str]], None]) -> Path:
    """`folder/bin`, and `folder/bin2` with other training pairs, from `folder/text`."""
    text, first, second = folder / "text", folder / "bin", folder / "bin2"
    common = ["-s", "de", "-t", "en", "--workers", "1"]
    words = [f"--trainpref={text}/train", f"--validpref={text}/valid", f"--testpref={text}/test", f"--destdir={first}"]
    preprocess([*common, *words, *(["--joined-dictionary"] if joined else [])])
    dictionaries = [f"--srcdict={first}/dict.de.txt"]
    dictionaries += ["--joined-dictionary"] if joined else [f"--tgtdict={first}/dict.en.txt"]
    preprocess([*common, *dictionaries, f"--trainpref={text}/train-b", f"--destdir={second}"])
    parts = folder / "parts"
    preprocess(
        [*common, *dictionaries, f"--trainpref={text}/train1", f"--validpref={text}/valid1", f"--destdir={parts}"]
    )
    for split in ("train", "valid"):
        for path in parts.glob(f"{split}.de-en.*"):
            path.rename(first / path.name.replace(f"{split}.", f"{split}1.", 1))
    return first


def write_start(path: Path, data: Path, start: Start) -> Path:
    """Weights to begin with, in a file as fairseq wrote them in 2019: flags in `args`, no `cfg`.

    The numbers come from NumPy's legacy generator, whose stream is the same everywhere.
    """
    size = {lang: len((data / f"dict.{lang}.txt").read_text("utf-8").splitlines()) + 4 for lang in ("de", "en")}
    draw = np.random.RandomState(8)
    weights: dict[str, torch.Tensor] = {}

    def linear(name: str, out: int, into: int) -> None:
        weights[f"{name}.weight"] = torch.tensor(draw.randn(out, into) / into**0.5, dtype=torch.float32)
        weights[f"{name}.bias"] = torch.tensor(draw.randn(out) * 0.05, dtype=torch.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = torch.tensor(1 + draw.randn(WIDTH) * 0.1, dtype=torch.float32)
        weights[f"{name}.bias"] = torch.tensor(draw.randn(WIDTH) * 0.1, dtype=torch.float32)

    def embedding(name: str, rows: int) -> None:
        weights[name] = torch.tensor(draw.randn(rows, WIDTH) / WIDTH**0.5, dtype=torch.float32)
        weights[name][1] = 0  # padding

    for side, lang in (("encoder", "de"), ("decoder", "en")):
        weights[f"{side}.version"] = torch.tensor([3.0])
        embedding(f"{side}.embed_tokens.weight", size[lang])
        if start.learned:
            embedding(f"{side}.embed_positions.weight", start.learned + 2)
        for layer in range(LAYERS):
            attentions = ["self_attn", "encoder_attn"][: 1 + (side == "decoder")]
            for attention in attentions:
                for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
                    linear(f"{side}.layers.{layer}.{attention}.{name}", WIDTH, WIDTH)
                norm(f"{side}.layers.{layer}.{attention}_layer_norm")
            linear(f"{side}.layers.{layer}.fc1", INNER, WIDTH)
            linear(f"{side}.layers.{layer}.fc2", WIDTH, INNER)
            norm(f"{side}.layers.{layer}.final_layer_norm")
        if start.final_norm:
            norm(f"{side}.layer_norm")
    embedding("decoder.output_projection.weight", size["en"])
    if start.shared != "none":
        weights["decoder.output_projection.weight"] = weights["decoder.embed_tokens.weight"]
    if start.shared == "all":
        weights["encoder.embed_tokens.weight"] = weights["decoder.embed_tokens.weight"]
    args = Namespace(arch="transformer", task="translation", source_lang="de", target_lang="en", data=".")
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {"best": None}, "num_updates": 0}
    extra = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}}
    torch.save({"args": args, "model": weights, "optimizer_history": [history], "extra_state": extra}, path)
    return path
