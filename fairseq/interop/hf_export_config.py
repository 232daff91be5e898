"""config.json of an exported model; refuses what Hugging Face's RoBERTa does not compute.

>>> labels(2, ["1", "0"])["id2label"]
{'0': '1', '1': '0'}
"""

from typing import Any, Optional

from fairseq.errors import CheckpointError

ACTIVATIONS = {"gelu": "gelu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "relu": "relu"}
NEEDED = {
    "encoder_normalize_before": False,
    "layernorm_embedding": True,
    "encoder_learned_pos": True,
    "no_token_positional_embeddings": False,
    "no_scale_embedding": True,
}


def settings(model: Any, head: Optional[str], has_lm_head: bool, where: str) -> dict[str, Any]:
    """config.json for a model of ours.

    Args:
        head: the classification head that is exported, if any.
        has_lm_head: the language model head is exported.
        where: the checkpoint, for messages.

    Raises:
        CheckpointError: a setting that has no counterpart.
    """
    args = model.args
    for name, needed in NEEDED.items():
        if bool(getattr(args, name)) != needed:
            raise CheckpointError(f"{where}: Hugging Face's RoBERTa has no model.{name}={getattr(args, name)}")
    activation = ACTIVATIONS.get(str(args.activation_fn))
    if activation is None:
        raise CheckpointError(
            f"{where}: activation {args.activation_fn} cannot be exported, only {', '.join(ACTIVATIONS)}"
        )
    architecture = "RobertaModel"
    if head is not None:
        architecture = "RobertaForSequenceClassification"
        _check_head(model, head, where)
    elif has_lm_head:
        architecture = "RobertaForMaskedLM"
        of_head = str(args.lm_head_activation_fn or args.activation_fn)
        if of_head != "gelu":
            raise CheckpointError(
                f"{where}: the language model head has the activation {of_head}, Hugging Face's has gelu whatever "
                "hidden_act says; it cannot be exported"
            )
    positions = model.encoder.sentence_encoder.embed_positions.weight
    return {
        "architectures": [architecture],
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


def labels(num_classes: int, names: Optional[list[str]]) -> dict[str, Any]:
    """Names of the classes; one class is a regression."""
    names = names or [f"LABEL_{index}" for index in range(num_classes)]
    found: dict[str, Any] = {
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }
    return {**found, **({"problem_type": "regression"} if num_classes == 1 else {})}


def _check_head(model: Any, head: str, where: str) -> None:
    args, module = model.args, model.classification_heads[head]
    if args.pooler_activation_fn != "tanh":
        raise CheckpointError(f"{where}: only classification heads with tanh can be exported")
    if module.dense.out_features != int(args.encoder_embed_dim):
        raise CheckpointError(
            f"{where}: head {head} is {module.dense.out_features} wide, Hugging Face's is as wide as the encoder, "
            f"{args.encoder_embed_dim}; it cannot be exported"
        )
