"""Language models that fairseq 0.12 and ours must train alike: 40 updates at dropout 0 from one start, digit for digit.

Used by make_lm_training_fixtures.py (under fairseq 0.12, with its own preprocessing) and by test_lm_training.py (ours,
and both live). As in training_cases.py, each run is also stopped at `SPLIT` and continued by the other side, and what
each side's `fairseq-eval-lm` prints of the last checkpoint is compared, too. The stop lies in the first epoch: fairseq
0.12 makes the batches of a later one anew when it resumes there, in another order than it would have gone on with.
"""

import re
import shlex
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from training_cases import RESETS, SPLIT, UPDATES

WIDTH, INNER, LAYERS, TOKENS = 16, 24, 2, 24

COMMON = f"""
    --task language_modeling --tokens-per-sample {TOKENS} --decoder-layers {LAYERS} --decoder-embed-dim {WIDTH}
    --decoder-input-dim {WIDTH} --decoder-output-dim {WIDTH} --decoder-ffn-embed-dim {INNER}
    --decoder-attention-heads 4 --dropout 0 --attention-dropout 0 --cpu --log-format json --log-interval 1
    --num-workers 0 --no-epoch-checkpoints --save-interval-updates {SPLIT} --required-batch-size-multiple 1
    --optimizer adam --adam-betas (0.9,0.98) --clip-norm 1.0 --max-update {UPDATES}
"""
PLAIN = """
    --arch transformer_lm --criterion cross_entropy --sample-break-mode none --batch-size 2 --lr 0.005
    --lr-scheduler inverse_sqrt --warmup-updates 8 --warmup-init-lr 1e-07 --update-freq 2,1 --seed 11
"""
GPT = """
    --arch transformer_lm_gpt2_tiny --criterion cross_entropy --sample-break-mode complete --max-tokens 60
    --decoder-learned-pos --share-decoder-input-output-embed --add-bos-token --sentence-avg --max-target-positions 40
    --lr 0.004 --lr-scheduler polynomial_decay --warmup-updates 6 --total-num-update 40 --weight-decay 0.1
"""
ADAPTIVE = """
    --arch transformer_lm_wiki103 --criterion adaptive_loss --sample-break-mode none --batch-size 2 --lr 0.01
    --adaptive-input-cutoff 10,16 --adaptive-softmax-cutoff 10,16 --adaptive-softmax-dropout 0
    --activation-dropout 0 --adaptive-input-factor 2 --adaptive-softmax-factor 2
    --lr-scheduler cosine --warmup-updates 6 --lr-period-updates 30 --warmup-init-lr 1e-07 --ddp-backend legacy_ddp
"""
CHARACTERS = """
    --arch transformer_lm_gbw --criterion cross_entropy --sample-break-mode complete --batch-size 4 --lr 0.003
    --character-embeddings --character-filters [(1,4),(2,6)] --character-embedding-dim 4
    --char-embedder-highway-layers 1 --lr-scheduler fixed --max-target-positions 40
"""


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        settings: flags.
        evaluations: flags of `fairseq-eval-lm`, some.
    """

    settings: str
    evaluations: tuple[str, ...]

    def words(self, data: Path, start: Path, save_dir: Path, *, resume: bool) -> list[str]:
        """The command line; with `resume`, `start` is a checkpoint to go on from."""
        words = [str(data), *COMMON.split(), *self.settings.split(), *([] if resume else RESETS)]
        return [*words, "--restore-file", str(start), "--save-dir", str(save_dir)]

    def evaluating(self, data: Path, checkpoint: Path, number: int) -> list[str]:
        """The command line of one evaluation."""
        words = [str(data), "--path", str(checkpoint), "--cpu", "--gen-subset", "valid", "--no-progress-bar"]
        return [*words, "--num-workers", "0", *shlex.split(self.evaluations[number])]


NONE = f"--tokens-per-sample {TOKENS} --max-tokens 100"
RUNS = {
    "plain": Run(PLAIN, (NONE, f"{NONE} --context-window 9", f"{NONE} --softmax-batch 7 --output-word-probs")),
    "gpt": Run(GPT, ("--tokens-per-sample 38 --sample-break-mode complete --add-bos-token --max-sentences 3",)),
    "adaptive": Run(
        ADAPTIVE,
        (
            f"{NONE} --output-word-stats --remove-bpe '@@ '",
            f"{NONE} --context-window 9 --output-word-probs --remove-bpe '@@ '",
            f"{NONE} --softmax-batch 7 --sample-break-mode complete",
        ),
    ),
    "characters": Run(CHARACTERS, (f"{NONE} --num-shards 2 --shard-id 1",)),
}
KEPT = "adaptive"  # the run whose checkpoint at SPLIT is a fixture


def reported(output: str) -> list[str]:
    """What an evaluation reported, without times."""
    lines = re.findall(r"fairseq_cli\.eval_lm(?: \||:)\s?(.*)$", output, flags=re.MULTILINE)
    kept = re.compile(r"Loss|Evaluated|num\. model|bin valid|\S+ \S+ \[-|\S+\t\d+\t-")
    lines = [re.sub(r" in \d.*", "", line) for line in lines if kept.search(line)]
    return [re.sub(r"^/\S*/", "", line) for line in lines]


def words_with_marks(folder: Path) -> None:
    """Split some words of the text in `folder` into two pieces, so that there are words of pieces."""
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"\bw2(\d)\b", r"w2@@ \1", text), encoding="utf-8")


def write_start(path: Path, dictionary: Path, name: str) -> Path:
    """Weights to begin with, in a file as fairseq wrote them in 2019; from NumPy's legacy generator."""
    draw = np.random.RandomState(7)
    weights: dict[str, torch.Tensor] = {"decoder.version": torch.tensor([3.0])}
    vocabulary = len(dictionary.read_text(encoding="utf-8").splitlines()) + 4
    flags = RUNS[name].settings

    def matrix(key: str, rows: int, columns: int, scale: float = 0.3) -> None:
        weights[f"decoder.{key}"] = torch.tensor(draw.randn(rows, columns) * scale, dtype=torch.float32)

    def vector(key: str, size: int, mean: float = 0.0) -> None:
        weights[f"decoder.{key}"] = torch.tensor(mean + draw.randn(size) * 0.1, dtype=torch.float32)

    for key, shapes in embeddings(flags, vocabulary).items():
        scale = 0.3
        weights[f"decoder.{key}"] = torch.tensor(draw.randn(*shapes) * scale, dtype=torch.float32)
    for table in ("embed_tokens.weight", "embed_tokens.embeddings.0.0.weight", "embed_positions.weight"):
        if f"decoder.{table}" in weights:
            weights[f"decoder.{table}"][1] = 0  # padding
    if "--character" in flags:
        weights["decoder.embed_tokens.char_embeddings.weight"][0] = 0
    for layer in range(LAYERS):
        for key in ("k_proj", "v_proj", "q_proj", "out_proj"):
            matrix(f"layers.{layer}.self_attn.{key}.weight", WIDTH, WIDTH)
            vector(f"layers.{layer}.self_attn.{key}.bias", WIDTH)
        for key, rows, columns in (("fc1", INNER, WIDTH), ("fc2", WIDTH, INNER)):
            matrix(f"layers.{layer}.{key}.weight", rows, columns)
            vector(f"layers.{layer}.{key}.bias", rows)
        for key in ("self_attn_layer_norm", "final_layer_norm"):
            vector(f"layers.{layer}.{key}.weight", WIDTH, 1.0)
            vector(f"layers.{layer}.{key}.bias", WIDTH)
    if "gpt2" in flags:
        vector("layer_norm.weight", WIDTH, 1.0)
        vector("layer_norm.bias", WIDTH)
    if "--share" in flags:
        weights["decoder.output_projection.weight"] = weights["decoder.embed_tokens.weight"]
    elif "adaptive" not in flags:
        matrix("output_projection.weight", vocabulary, WIDTH)
    else:
        inputs, softmax = "decoder.embed_tokens.embeddings", "decoder.adaptive_softmax"
        weights[f"{softmax}.version"] = torch.tensor([1])
        weights[f"{softmax}.head._float_tensor"] = weights["decoder.embed_tokens._float_tensor"] = torch.zeros(1)
        weights[f"{softmax}.head.word_proj.weight"] = weights[f"{inputs}.0.0.weight"]
        matrix("adaptive_softmax.head.class_proj.weight", 2, WIDTH)
        for tail in range(2):
            weights[f"{softmax}.tail.{tail}.0.weight"] = weights[f"{inputs}.{tail + 1}.1.weight"]
            weights[f"{softmax}.tail.{tail}.2.weight"] = weights[f"{inputs}.{tail + 1}.0.weight"]
    args = Namespace(arch=re.search(r"--arch (\S+)", flags)[1], task="language_modeling", criterion="cross_entropy")
    args.data, args.tokens_per_sample = ".", TOKENS
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {"best": None}, "num_updates": 0}
    extra = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}}
    torch.save({"args": args, "model": weights, "optimizer_history": [history], "extra_state": extra}, path)
    return path


def embeddings(flags: str, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the embeddings' weights."""
    if "adaptive" in flags:
        sizes, found = (10, 6, vocabulary - 16), {}
        for band, size in enumerate(sizes):
            found[f"embed_tokens.embeddings.{band}.0.weight"] = (size, WIDTH // 2**band)
            found[f"embed_tokens.embeddings.{band}.1.weight"] = (WIDTH, WIDTH // 2**band)
        return found
    if "--character" in flags:
        convolutions = {"convolutions.0.weight": (4, 4, 1), "convolutions.0.bias": (4,)}
        convolutions |= {"convolutions.1.weight": (6, 4, 2), "convolutions.1.bias": (6,)}
        highway = {"highway.layers.0.weight": (20, 10), "highway.layers.0.bias": (20,)}
        ends = {"symbol_embeddings": (2, WIDTH), "char_embeddings.weight": (257, 4)}
        ends |= {"projection.weight": (WIDTH, 10), "projection.bias": (WIDTH,)}
        return {f"embed_tokens.{key}": shape for key, shape in {**ends, **convolutions, **highway}.items()}
    found = {"embed_tokens.weight": (vocabulary, WIDTH)}
    if "--decoder-learned-pos" in flags:
        found["embed_positions.weight"] = (42, WIDTH)
    return found
