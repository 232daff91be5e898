"""Which of a model's settings differ from what the shapes in a checkpoint say: found before the model is built.

>>> weights = {"encoder.sentence_encoder.embed_tokens.weight": torch.empty(25, 16, device="meta")}
>>> weights["encoder.sentence_encoder.layers.0.fc1.weight"] = torch.empty(64, 16, device="meta")
>>> cfg = OmegaConf.create({"encoder_embed_dim": 32, "encoder_ffn_embed_dim": 64, "encoder_layers": 2})
>>> differing_sizes(weights, cfg)
['model.encoder_embed_dim=32 (16 in the checkpoint)', 'model.encoder_layers=2 (1 in the checkpoint)']
"""

import re
from collections.abc import Mapping
from typing import Any

import torch  # noqa: F401  (for the example above)
from omegaconf import OmegaConf  # noqa: F401

# files of before 2020 call RoBERTa's encoder `decoder`
_ROBERTA = re.compile(r"^decoder\.(?=sentence_encoder\.)")
_TOKENS = re.compile(r"^(encoder|decoder)\.(?:sentence_encoder\.)?embed_tokens\.weight$")
_INNER = re.compile(r"^(encoder|decoder)\.(?:sentence_encoder\.)?layers\.0\.fc1\.weight$")
_LAYER = re.compile(r"^(encoder|decoder)\.(?:sentence_encoder\.)?layers\.(\d+)\.")


def differing_sizes(weights: Mapping[str, Any], model_cfg: Any) -> list[str]:
    """`model.key=value (N in the checkpoint)` for each size of `model_cfg` that does not fit `weights`.

    Args:
        weights: key -> tensor, of any device. Weights of other models than fairseq's transformers say nothing.
        model_cfg: the `model` group, a namespace of flags where a plugin has no other.
    """
    found: dict[str, int] = {}
    for key, weight in weights.items():
        key = _ROBERTA.sub("encoder.", key)
        if match := _TOKENS.match(key):
            found[f"{match[1]}_embed_dim"] = weight.shape[1]
        elif match := _INNER.match(key):
            found[f"{match[1]}_ffn_embed_dim"] = weight.shape[0]
        if match := _LAYER.match(key):
            found[f"{match[1]}_layers"] = max(found.get(f"{match[1]}_layers", 0), int(match[2]) + 1)
    for side in ("encoder", "decoder"):
        if getattr(model_cfg, f"{side}_layers_to_keep", None):
            found.pop(f"{side}_layers", None)
    return [
        f"model.{key}={own} ({saved} in the checkpoint)"
        for key, saved in sorted(found.items())
        if isinstance(own := getattr(model_cfg, key, None), int) and own != saved
    ]
