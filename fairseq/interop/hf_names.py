"""Names of Hugging Face's encoder tensors and ours.

    encoder.layer.3.attention.self.query.weight  ->  encoder.sentence_encoder.layers.3.self_attn.q_proj.weight

>>> to_fairseq("roberta.encoder.layer.3.output.dense.bias")
'encoder.sentence_encoder.layers.3.fc2.bias'
>>> to_hf("encoder.sentence_encoder.layers.3.fc2.bias")
'roberta.encoder.layer.3.output.dense.bias'
>>> to_fairseq("bert.pooler.dense.weight") is None
True
"""

import re
from typing import Optional

HEAD = "sentence_classification_head"

LAYER = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "self_attn_layer_norm",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "output.LayerNorm": "final_layer_norm",
}
ELSEWHERE = {
    "embeddings.word_embeddings.weight": "encoder.sentence_encoder.embed_tokens.weight",
    "embeddings.position_embeddings.weight": "encoder.sentence_encoder.embed_positions.weight",
    "embeddings.LayerNorm.weight": "encoder.sentence_encoder.layernorm_embedding.weight",
    "embeddings.LayerNorm.bias": "encoder.sentence_encoder.layernorm_embedding.bias",
}
# RoBERTa's names come first: they are the ones that an export writes
HEADS = {
    "lm_head.dense.": "encoder.lm_head.dense.",
    "lm_head.layer_norm.": "encoder.lm_head.layer_norm.",
    "lm_head.bias": "encoder.lm_head.bias",
    "lm_head.decoder.bias": "encoder.lm_head.bias",
    "lm_head.decoder.weight": "encoder.lm_head.weight",
    "classifier.dense.": f"classification_heads.{HEAD}.dense.",
    "classifier.out_proj.": f"classification_heads.{HEAD}.out_proj.",
    "cls.predictions.transform.dense.": "encoder.lm_head.dense.",
    "cls.predictions.transform.LayerNorm.": "encoder.lm_head.layer_norm.",
    "cls.predictions.bias": "encoder.lm_head.bias",
    "cls.predictions.decoder.bias": "encoder.lm_head.bias",
    "cls.predictions.decoder.weight": "encoder.lm_head.weight",
}
_THEIRS = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")
_OURS = re.compile(r"encoder\.sentence_encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def bare(name: str) -> str:
    """A Hugging Face tensor's name without the model's, and with the names that layer norms have today.

    >>> bare("bert.embeddings.LayerNorm.gamma")
    'embeddings.LayerNorm.weight'
    """
    name = re.sub(r"^(bert|roberta|xlm-roberta|camembert)\.", "", name)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def to_fairseq(name: str) -> Optional[str]:
    """Our name of a Hugging Face tensor; None for what our model has no place for (pooler, next-sentence head)."""
    name = bare(name)
    if match := _THEIRS.fullmatch(name):
        number, part, kind = match.groups()
        ours = LAYER.get(part)
        return None if ours is None else f"encoder.sentence_encoder.layers.{number}.{ours}.{kind}"
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    for theirs, ours in HEADS.items():
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return None


def to_hf(name: str) -> Optional[str]:
    """The name that Hugging Face's RoBERTa gives one of our tensors; None if it has none."""
    if match := _OURS.fullmatch(name):
        number, part, kind = match.groups()
        theirs = {ours: theirs for theirs, ours in LAYER.items()}.get(part)
        return None if theirs is None else f"roberta.encoder.layer.{number}.{theirs}.{kind}"
    for theirs, ours in ELSEWHERE.items():
        if name == ours:
            return f"roberta.{theirs}"
    for theirs, ours in HEADS.items():
        if name.startswith(ours) and not theirs.startswith("cls."):
            return theirs + name[len(ours) :]
    return None
