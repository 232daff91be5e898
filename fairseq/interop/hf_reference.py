"""A Hugging Face encoder folder, computed in PyTorch operations: the reference for imports and exports.

    reference = Reference(Path("roberta-hf"))
    reference.features(ids, mask)          # (B, T, C), fp32
    reference.outputs(ids, mask)           # {"features": ..., "lm": (B, T, V), "classes": (B, N)}, what the folder has

It reads config.json and tensors by name, and shares no code with the conversion. BERT-type and RoBERTa-type
models differ in where positions begin, in the activation of the language model head (RoBERTa's is exact GELU whatever
`hidden_act` says), and in what feeds the classifier. `tests/interop` compares it with `transformers`.

Shapes: B sentences, T tokens, C channels, H heads, V words, N classes.
"""

import math
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.errors import CheckpointError, shortened
from fairseq.interop import hf_files

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


class Reference:
    """A model folder, as Hugging Face's classes read it.

    Args:
        folder: with config.json and the weights.

    Raises:
        CheckpointError: a file or tensor is missing.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = hf_files.read_config(folder)
        tensors = hf_files.read_tensors(folder)
        self.tensors = {_modern(name): tensor for name, tensor in tensors.items()}
        self.is_bert = self.config["model_type"] == "bert"
        pad = self.config.get("pad_token_id")
        self.pad = int(pad) if pad is not None else (0 if self.is_bert else 1)
        rows = len(self._tensor("embeddings.word_embeddings.weight"))
        if not 0 <= self.pad < rows:
            raise CheckpointError(f"{folder}: pad_token_id must be one of the {rows} ids, not {shortened(pad)}")

    @torch.no_grad()
    def outputs(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """All that the folder can compute for `ids` (B, T), where `mask` (B, T) is 1 for words and 0 for padding."""
        features = self.features(ids, mask)
        found = {"features": features}
        if self.has("cls.predictions.transform.dense.weight" if self.is_bert else "lm_head.dense.weight"):
            found["lm"] = self._language_model(features)
        if self.has("classifier.weight") and self.is_bert and self.has("pooler.dense.weight"):
            found["classes"] = self._linear("classifier", torch.tanh(self._linear("pooler.dense", features[:, 0])))
        elif self.has("classifier.out_proj.weight"):
            pooled = torch.tanh(self._linear("classifier.dense", features[:, 0]))
            found["classes"] = self._linear("classifier.out_proj", pooled)
        return found

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last layer's output (B, T, C)."""
        if self.is_bert:
            positions = torch.arange(ids.shape[1]).expand_as(ids)
        else:
            real = (ids != self.pad).long()
            positions = real.cumsum(1) * real + self.pad
        x = self._tensor("embeddings.word_embeddings.weight")[ids]
        x = x + self._tensor("embeddings.position_embeddings.weight")[positions]
        if self.has("embeddings.token_type_embeddings.weight"):
            x = x + self._tensor("embeddings.token_type_embeddings.weight")[0]
        x = self._norm("embeddings.LayerNorm", x)
        scores_mask = (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min  # (B, 1, 1, T)
        activation = self._activation(str(self.config.get("hidden_act", "gelu")))
        for number in range(int(self.config["num_hidden_layers"])):
            layer = f"encoder.layer.{number}."
            y = self._linear(
                f"{layer}attention.output.dense", self._attention(f"{layer}attention.self.", x, scores_mask)
            )
            x = self._norm(f"{layer}attention.output.LayerNorm", x + y)
            y = self._linear(f"{layer}output.dense", activation(self._linear(f"{layer}intermediate.dense", x)))
            x = self._norm(f"{layer}output.LayerNorm", x + y)
        return x

    def has(self, name: str) -> bool:
        return name in self.tensors

    def _attention(self, prefix: str, x: Tensor, mask: Tensor) -> Tensor:
        """Softmax attention (B, T, C) -> (B, T, C), before the output projection."""
        heads = int(self.config["num_attention_heads"])
        q, k, v = (
            self._linear(f"{prefix}{part}", x).unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, H, T, C/H)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask  # (B, H, T, T)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def _language_model(self, features: Tensor) -> Tensor:
        """Scores over the vocabulary (B, T, V). The decoder has a separate bias if the file has one."""
        if self.is_bert:
            head, activation = "cls.predictions.", self._activation(str(self.config.get("hidden_act", "gelu")))
            x = activation(self._linear(f"{head}transform.dense", features))
            x = self._norm(f"{head}transform.LayerNorm", x)
        else:
            head = "lm_head."
            x = self._norm(f"{head}layer_norm", F.gelu(self._linear(f"{head}dense", features)))
        weight = self._tensor(f"{head}decoder.weight", "embeddings.word_embeddings.weight")
        return F.linear(x, weight, self._tensor(f"{head}decoder.bias", f"{head}bias"))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        eps = float(self.config.get("layer_norm_eps", 1e-12))
        return F.layer_norm(x, x.shape[-1:], self._tensor(f"{name}.weight"), self._tensor(f"{name}.bias"), eps)

    def _activation(self, name: str) -> Any:
        if name not in ACTIVATIONS:
            raise CheckpointError(f"{self.folder}: activation {name!r} is not known; known: {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[name]

    def _tensor(self, *names: str) -> Tensor:
        """The first of these tensors that is there."""
        for name in names:
            if name in self.tensors:
                return self.tensors[name]
        raise CheckpointError(f"{self.folder}: the weights hold no {names[-1]}; get the files again")


def _modern(name: str) -> str:
    """A tensor's name without the model's, and with the names that layer norms have today."""
    name = re.sub(r"^(bert|roberta|xlm-roberta|camembert)\.", "", name)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
