"""Weights of tiny BARTs to begin with, as fairseq wrote files in 2019; from NumPy's legacy generator, whose stream is
the same everywhere. Used under fairseq 0.12 and under ours."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import torch

LAYERS, WIDTH, INNER, POSITIONS = 2, 16, 24, 64


def bart_weights(vocabulary: int, heads: int = 0, seed: int = 9) -> dict[str, torch.Tensor]:
    """A state dict of `bart_base` in the size above; `heads`: classes of a head named `labels`."""
    draw = np.random.RandomState(seed)
    weights: dict[str, torch.Tensor] = {}

    def tensor(*shape: int, scale: float = 1.0, mean: float = 0.0) -> torch.Tensor:
        return torch.tensor(mean + draw.randn(*shape) * scale, dtype=torch.float32)

    def linear(name: str, out: int, into: int) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            tensor(out, into, scale=into**-0.5),
            tensor(out, scale=0.05),
        )

    def norm(name: str) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            tensor(WIDTH, scale=0.1, mean=1.0),
            tensor(WIDTH, scale=0.1),
        )

    table = tensor(vocabulary, WIDTH, scale=0.3)
    table[1] = 0  # padding
    for side in ("encoder", "decoder"):
        weights[f"{side}.version"] = torch.tensor([3.0])
        weights[f"{side}.embed_tokens.weight"] = table
        weights[f"{side}.embed_positions.weight"] = tensor(POSITIONS + 2, WIDTH, scale=0.3)
        weights[f"{side}.embed_positions.weight"][1] = 0
        norm(f"{side}.layernorm_embedding")
        for layer in range(LAYERS):
            for attention in ["self_attn", "encoder_attn"][: 1 + (side == "decoder")]:
                for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
                    linear(f"{side}.layers.{layer}.{attention}.{name}", WIDTH, WIDTH)
                norm(f"{side}.layers.{layer}.{attention}_layer_norm")
            linear(f"{side}.layers.{layer}.fc1", INNER, WIDTH)
            linear(f"{side}.layers.{layer}.fc2", WIDTH, INNER)
            norm(f"{side}.layers.{layer}.final_layer_norm")
    weights["decoder.output_projection.weight"] = table
    if heads:
        linear("classification_heads.labels.dense", WIDTH, WIDTH)
        linear("classification_heads.labels.out_proj", heads, WIDTH)
    return weights


def bart_args(**more: object) -> Namespace:
    """Flags of that model, trained by denoising."""
    args = Namespace(
        arch="bart_base", task="denoising", criterion="cross_entropy", data=".", tokens_per_sample=POSITIONS,
        max_source_positions=POSITIONS, max_target_positions=POSITIONS, dropout=0.0,
    )  # fmt: skip
    for side in ("encoder", "decoder"):
        sizes = {"layers": LAYERS, "embed_dim": WIDTH, "ffn_embed_dim": INNER, "attention_heads": 4}
        for name, value in sizes.items():
            setattr(args, f"{side}_{name}", value)
    vars(args).update(more)
    return args


def write(path: Path, args: Namespace, weights: dict[str, torch.Tensor]) -> Path:
    """A checkpoint of these."""
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {"best": None}, "num_updates": 0}
    extra = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}}
    torch.save({"args": args, "model": weights, "optimizer_history": [history], "extra_state": extra}, path)
    return path


def size_of(dictionary: Path, more: int = 1) -> int:
    """Entries of a dictionary file, with the four special ones and `more`, such as `<mask>`."""
    return len(dictionary.read_text(encoding="utf-8").splitlines()) + 4 + more
