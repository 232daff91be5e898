"""A checkpoint of RoBERTa -> a Hugging Face folder: config.json, model.safetensors and tokenizer files.

    export_encoder(Path("roberta.base/model.pt"), Path("roberta-hf"), Path("roberta.base"))

The weights are written bit for bit. What was imported from a BERT-type model becomes a RoBERTa that computes the same:
token type 0 is part of its positions already, and the tokenizer's ids are those of our dictionary.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.checkpoint.format import load_weights
from fairseq.checkpoint.writing import atomic
from fairseq.data.dictionary import Dictionary
from fairseq.errors import CheckpointError, ConfigError, unknown
from fairseq.interop import hf_export_tokenizer, hf_names
from fairseq.interop.hf_import import OFFSET, TOKENS

ACTIVATIONS = {"gelu": "gelu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "relu": "relu"}
TABLES = ("embed_tokens.weight", "embed_positions.weight")
LM_WEIGHT = "encoder.lm_head.weight"
LAYOUT = "encoder.sentence_encoder.version"  # a number that says how old the names are, no weight


def export_encoder(checkpoint: Path, dest: Path, bpe_dir: Optional[Path] = None, head: Optional[str] = None) -> str:
    """Write `dest`; returns the name of the Hugging Face class that the folder is for.

    Args:
        checkpoint: of any age.
        bpe_dir: folder with `dict.txt` and the tokenizer's files; None writes no tokenizer.
        head: which classification head to take along, where the checkpoint has several.

    Raises:
        CheckpointError: the file cannot be read, or holds what Hugging Face's RoBERTa does not compute.
        ConfigError: no such head.
    """
    model, task_state, made_up = read_model(checkpoint)
    config = settings(model, str(checkpoint))
    ours = {name: tensor for name, tensor in model.state_dict().items() if name not in made_up}
    if config["tie_word_embeddings"]:
        ours.pop(LM_WEIGHT, None)
    state, num_classes = rename(ours, head, str(checkpoint))
    if "lm_head.decoder.weight" in state:
        state["lm_head.decoder.bias"] = state["lm_head.bias"].clone()  # one vector under two names
    if num_classes is None:
        config["architectures"] = ["RobertaForMaskedLM" if "lm_head.bias" in state else "RobertaModel"]
    else:
        if model.args.pooler_activation_fn != "tanh":
            raise CheckpointError(f"{checkpoint}: only classification heads with tanh can be exported")
        config["architectures"] = ["RobertaForSequenceClassification"]
        config |= _labels(num_classes, task_state)
    dest.mkdir(parents=True, exist_ok=True)
    if bpe_dir is not None:
        hf_export_tokenizer.export(bpe_dir, dest, config["vocab_size"], int(model.args.max_positions))
    write_tensors(state, dest / "model.safetensors")
    (dest / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return config["architectures"][0]


def read_model(checkpoint: Path) -> tuple[Any, dict[str, Any], set[str]]:
    """The model in a file, with all its heads; the state of its task; names of weights that the file lacks.

    No data folder is needed.
    """
    from fairseq import models
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu
    from fairseq.models.config import writable
    from fairseq.models.roberta import RobertaModel

    state = load_checkpoint_to_cpu(str(checkpoint))
    rows = {name.split(".")[-2]: len(tensor) for name, tensor in state["model"].items() if name.endswith(TABLES)}
    if state.get("cfg") is None or len(rows) < len(TABLES):
        raise CheckpointError(f"{checkpoint} does not say how its model is built, or has no embeddings")
    with writable(state["cfg"].model):
        state["cfg"].model.load_checkpoint_heads = True
    dictionary = Dictionary()
    for index in range(len(dictionary), rows["embed_tokens"]):
        dictionary.add_symbol(str(index))
    task = SimpleNamespace(source_dictionary=dictionary, max_positions=lambda: rows["embed_positions"] - OFFSET)
    model = models.build_model(state["cfg"].model, task)
    if not isinstance(model, RobertaModel):
        raise CheckpointError(f"{checkpoint} holds a {type(model).__name__}; only RoBERTa can be exported")
    has_lm_head = any(".lm_head." in name for name in state["model"])
    load_weights(model, state["model"], str(checkpoint), model_cfg=state["cfg"].model)
    made_up = set() if has_lm_head else {name for name in model.state_dict() if ".lm_head." in name}
    return model, state.get("task_state") or {}, made_up


def settings(model: Any, where: str) -> dict[str, Any]:
    """config.json for a model of ours; refuses what Hugging Face's RoBERTa does not compute."""
    args = model.args
    for name, needed in (
        ("encoder_normalize_before", False),
        ("layernorm_embedding", True),
        ("encoder_learned_pos", True),
        ("no_token_positional_embeddings", False),
        ("no_scale_embedding", True),
    ):
        if bool(getattr(args, name)) != needed:
            raise CheckpointError(f"{where}: Hugging Face's RoBERTa has no model.{name}={getattr(args, name)}")
    activation = ACTIVATIONS.get(str(args.activation_fn))
    if activation is None:
        raise CheckpointError(
            f"{where}: activation {args.activation_fn} cannot be exported, only {', '.join(ACTIVATIONS)}"
        )
    positions = model.encoder.sentence_encoder.embed_positions.weight
    return {
        "model_type": "roberta",
        "vocab_size": model.encoder.sentence_encoder.embed_tokens.weight.shape[0],
        "hidden_size": int(args.encoder_embed_dim),
        "num_hidden_layers": len(model.encoder.sentence_encoder.layers),
        "num_attention_heads": int(args.encoder_attention_heads),
        "intermediate_size": int(args.encoder_ffn_embed_dim),
        "hidden_act": activation,
        "hidden_dropout_prob": float(args.dropout),
        "attention_probs_dropout_prob": float(args.attention_dropout),
        "classifier_dropout": float(args.pooler_dropout),
        "max_position_embeddings": positions.shape[0],
        "type_vocab_size": 1,
        "layer_norm_eps": float(args.layer_norm_eps),
        "tie_word_embeddings": not args.untie_weights_roberta,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "dtype": "float32",
    }


def rename(ours: dict[str, Tensor], head: Optional[str], where: str) -> tuple[dict[str, Tensor], Optional[int]]:
    """Our tensors under their names, and the number of classes of the head that went along."""
    heads = sorted({name.split(".")[1] for name in ours if name.startswith("classification_heads.")})
    if head is not None and head not in heads:
        raise ConfigError(unknown("classification head", head, heads, where))
    if head is None and len(heads) > 1:
        raise ConfigError(f"{where} has the classification heads {', '.join(heads)}; choose one with --head")
    chosen = head or (heads[0] if heads else None)
    state: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        parts = name.split(".")
        if parts[0] == "classification_heads":
            if parts[1] != chosen:
                continue
            parts[1] = hf_names.HEAD
        if name == LAYOUT:
            continue
        theirs = hf_names.to_hf(".".join(parts))
        if theirs is None:
            raise CheckpointError(f"{where}: Hugging Face's RoBERTa has no place for {name}; it cannot be exported")
        state[theirs] = tensor.detach().contiguous()
    state["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, ours[TOKENS].shape[1])
    output = state.get("classifier.out_proj.weight")
    return state, None if output is None else len(output)


def write_tensors(state: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save

    with atomic(str(path)) as file:
        file.write(save(state, metadata={"format": "pt"}))


def _labels(num_classes: int, task_state: dict[str, Any]) -> dict[str, Any]:
    """Names of the classes where the checkpoint knows them; one class is a regression."""
    from fairseq.tasks.dictionaries import carried

    dictionary = carried(task_state, "label")
    names = [f"LABEL_{index}" for index in range(num_classes)]
    if dictionary is not None and len(dictionary) - dictionary.nspecial >= num_classes:
        names = [dictionary[dictionary.nspecial + index] for index in range(num_classes)]
    labels = {
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }
    return {**labels, **({"problem_type": "regression"} if num_classes == 1 else {})}
