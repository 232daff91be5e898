"""A Hugging Face RoBERTa, XLM-R or BERT-type encoder -> a checkpoint, dictionary and tokenizer of ours.

    import_encoder(Path("all-MiniLM-L6-v2"), Path("minilm"))    # minilm/{model.pt,dict.txt,tokenizer.json,...}

What differs from RoBERTa: a token-type embedding, whose type 0 is added to every position; positions that count from 0
(BERT), which move behind the two rows that our table keeps free; eps 1e-12 in layer norms (`model.layer_norm_eps`).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq.checkpoint import writing
from fairseq.data.dictionary import Dictionary
from fairseq.dataclass.models import RobertaConfig
from fairseq.errors import CheckpointError
from fairseq.interop import hf_files, hf_names, hf_tokenizer

TYPES = ("roberta", "xlm-roberta", "bert", "camembert")
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_accurate", "gelu_pytorch_tanh": "gelu_accurate", "relu": "relu"}
TOKENS, POSITIONS = (f"encoder.sentence_encoder.embed_{part}.weight" for part in ("tokens", "positions"))
OFFSET = 2  # rows of our position table before the first position


def import_encoder(folder: Path, dest: Path) -> list[str]:
    """Write `dest` and return the settings that fine-tuning has to be given, as KEY=VALUE.

    Raises:
        CheckpointError: a file is missing or damaged, or the model is of another kind.
    """
    config = hf_files.read_config(folder)
    model = model_settings(config, str(folder))
    theirs = hf_files.read_tensors(folder)
    dest.mkdir(parents=True, exist_ok=True)
    state = rename(theirs, str(folder))
    vocabulary = hf_tokenizer.convert(folder, dest, len(state[TOKENS]))
    place(state, theirs, vocabulary.order, is_bert=config["model_type"] == "bert")
    model["max_positions"] = len(state[POSITIONS]) - OFFSET
    model["untie_weights_roberta"] = _untied(state)
    bpe = _with_paths(vocabulary.bpe, dest)
    writing.save(_checkpoint(state, model, bpe, vocabulary.dictionary, dest), str(dest / "model.pt"))
    return _overrides(model, bpe)


def model_settings(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Our `model` group for a config.json; refuses what our encoder does not compute."""
    kind = config.get("model_type")
    if kind not in TYPES:
        raise CheckpointError(f"{where}: models of type {kind!r} cannot be imported, only {', '.join(TYPES)}")
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
        raise CheckpointError(f"{where}: only encoders with absolute positions can be imported")
    activation = ACTIVATIONS.get(str(config.get("hidden_act", "gelu")))
    if activation is None:
        raise CheckpointError(
            f"{where}: activation {config['hidden_act']!r} is not known; known: {', '.join(ACTIVATIONS)}"
        )
    try:
        return {
            "_name": "roberta",
            "encoder_layers": int(config["num_hidden_layers"]),
            "encoder_embed_dim": int(config["hidden_size"]),
            "encoder_ffn_embed_dim": int(config["intermediate_size"]),
            "encoder_attention_heads": int(config["num_attention_heads"]),
            "activation_fn": activation,
            "layer_norm_eps": float(config.get("layer_norm_eps", 1e-12)),
        }
    except KeyError as error:
        raise CheckpointError(f"{where}: config.json does not say {error.args[0]}; get the file again") from None


def rename(theirs: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Their tensors under our names."""
    state = {ours: tensor for name, tensor in theirs.items() if (ours := hf_names.to_fairseq(name)) is not None}
    for kind in ("weight", "bias"):  # BERT's classifier: its pooler is our head's first layer
        if f"classifier.{kind}" in theirs and f"bert.pooler.dense.{kind}" in theirs:
            state[f"classification_heads.{hf_names.HEAD}.dense.{kind}"] = theirs[f"bert.pooler.dense.{kind}"]
            state[f"classification_heads.{hf_names.HEAD}.out_proj.{kind}"] = theirs[f"classifier.{kind}"]
    for name in (TOKENS, POSITIONS):
        if name not in state:
            raise CheckpointError(f"{where}: the weights hold no {hf_names.to_hf(name)}; is this an encoder?")
    return state


def place(state: dict[str, Tensor], theirs: dict[str, Tensor], order: list[int], is_bert: bool) -> None:
    """Put rows of embeddings, in place, where our dictionary and positions expect them."""
    for name in (TOKENS, "encoder.lm_head.weight", "encoder.lm_head.bias"):
        if name in state:
            state[name] = state[name][order]
    positions = state[POSITIONS]
    if is_bert:
        positions = torch.cat([positions.new_zeros(OFFSET, positions.shape[1]), positions])
    types = [tensor for name, tensor in theirs.items() if name.endswith("embeddings.token_type_embeddings.weight")]
    if types:
        positions = torch.cat([positions[:OFFSET], positions[OFFSET:] + types[0][0]])
    state[POSITIONS] = positions
    if "encoder.lm_head.bias" in state and "encoder.lm_head.weight" not in state:
        state["encoder.lm_head.weight"] = state[TOKENS]


def _untied(state: dict[str, Tensor]) -> bool:
    weight = state.get("encoder.lm_head.weight")
    return weight is not None and not torch.equal(weight, state[TOKENS])


def _with_paths(bpe: dict[str, Any], dest: Path) -> dict[str, Any]:
    paths = ("gpt2_encoder_json", "gpt2_vocab_bpe", "bpe_tokenizer_json", "bpe_vocab_file")
    return {key: str(dest.resolve() / value) if key in paths else value for key, value in bpe.items()}


def _overrides(model: dict[str, Any], bpe: dict[str, Any]) -> list[str]:
    """Settings in which the model differs from roberta_base, its tokenizer, and how long its inputs may be."""
    usual = RobertaConfig()
    shape = [f"model.{key}={value}" for key, value in model.items() if value != getattr(usual, key, None)]
    shape = [setting for setting in shape if not setting.startswith(("model._name=", "model.max_positions="))]
    limit = [] if model["max_positions"] == 512 else [f"task.max_positions={model['max_positions']}"]
    return [*shape, *limit, f"bpe={bpe['_name']}", *(f"bpe.{key}={bpe[key]}" for key in bpe if key != "_name")]


def _checkpoint(
    state: dict[str, Tensor], model: dict[str, Any], bpe: dict[str, Any], dictionary: Dictionary, dest: Path
) -> dict[str, Any]:
    from fairseq.dataclass.typed import typed_config
    from fairseq.dataclass.utils import to_plain
    from fairseq.tasks.dictionaries import KEY, to_text

    cfg = {
        "model": model,
        "task": {"_name": "masked_lm", "data": str(dest.resolve()), "tokens_per_sample": model["max_positions"]},
        "criterion": {"_name": "masked_lm"},
        "bpe": bpe,
    }
    state["encoder.sentence_encoder.version"] = torch.tensor([3.0])
    if "<mask>" not in dictionary:
        raise CheckpointError(f"{dest}: the tokenizer has no mask symbol; it is not one of a masked language model")
    return {
        "args": None,
        "cfg": to_plain(typed_config(cfg)),
        "model": state,
        "criterion": None,
        "optimizer_history": [],
        "task_state": {KEY: {"source": to_text(dictionary)}},
        "extra_state": {"train_iterator": {"epoch": 1}, "val_loss": None},
    }
