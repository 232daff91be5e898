"""A Hugging Face RoBERTa, XLM-R or BERT-type encoder -> a checkpoint, dictionary and tokenizer of ours.

    imported = import_encoder(Path("all-MiniLM-L6-v2"), Path("minilm"))    # minilm/{model.pt,dict.txt,...}

What differs from RoBERTa: a token-type embedding, whose type 0 is added to every position; positions that count from 0
(BERT), or behind another padding id, which move behind the two rows that our table keeps free; eps 1e-12 in layer norms
(`model.layer_norm_eps`); the activation of the language model head (`model.lm_head_activation_fn`).

What was written is loaded again and compared with what the folder computes (`hf_compare`) before it takes its place.
"""

from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.checkpoint import writing
from fairseq.checkpoint.layout import restoring
from fairseq.data.class_names import label_names
from fairseq.data.dictionary import Dictionary
from fairseq.dataclass.models import RobertaConfig
from fairseq.errors import CheckpointError, ConfigError
from fairseq.interop import hf_files, hf_names, hf_tokenizer
from fairseq.interop.hf_checks import check_sizes, size_of
from fairseq.interop.hf_compare import Comparison, compare
from fairseq.output_files import check_folder, staged

TYPES = ("roberta", "xlm-roberta", "bert", "camembert")
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_accurate", "gelu_pytorch_tanh": "gelu_accurate", "relu": "relu"}
TOKENS, POSITIONS = (f"encoder.sentence_encoder.embed_{part}.weight" for part in ("tokens", "positions"))
LM_WEIGHT, LM_BIAS = "encoder.lm_head.weight", "encoder.lm_head.bias"
DROPOUT = {
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "classifier_dropout": "pooler_dropout",
}
WRITTEN = ("model.pt", "dict.txt", "encoder.json", "vocab.bpe", *hf_tokenizer.COPIED)
OFFSET = 2  # rows of our position table before the first position


class Import(NamedTuple):
    """What became of a folder.

    Attributes:
        settings: what fine-tuning has to be given, as KEY=VALUE.
        left_out: names of tensors that our model has no place for.
        comparison: of the checkpoint with the folder.
    """

    settings: list[str]
    left_out: list[str]
    comparison: Comparison


def import_encoder(folder: Path, dest: Path, overwrite: bool = False) -> Import:
    """Write `dest`.

    Args:
        overwrite: replace the files of an earlier import.

    Raises:
        CheckpointError: a file is missing or damaged, or the model or its tokenizer does what ours cannot.
        ConfigError: `dest` holds a model already.
    """
    if dest.exists() and dest.samefile(folder):
        raise ConfigError(f"{dest} is the folder of the model itself; give another --dest")
    check_folder(dest, WRITTEN, overwrite)
    config = hf_files.read_config(folder)
    model = model_settings(config, str(folder))
    theirs = hf_files.read_tensors(folder)
    state, left_out = rename(theirs, config, str(folder))
    check_sizes(model, state, TOKENS, POSITIONS, str(folder))
    with staged(dest, WRITTEN, overwrite) as new:
        with restoring(str(folder), "tokenizer", "get its files again"):
            vocabulary = hf_tokenizer.convert(folder, new, len(state[TOKENS]))
        place(state, theirs, vocabulary.order, _first_position(config, len(state[POSITIONS]), str(folder)))
        model["max_positions"] = len(state[POSITIONS]) - OFFSET
        model["untie_weights_roberta"] = _untied(state)
        bpe = _with_paths(vocabulary.bpe, dest)
        labels = class_labels(config, state, str(folder))
        writing.save(_checkpoint(state, model, bpe, vocabulary.dictionary, labels, dest), str(new / "model.pt"))
        comparison = compare(folder, new / "model.pt", vocabulary.order)
    return Import(_overrides(model, bpe), left_out, comparison)


def model_settings(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Our `model` group for a config.json; refuses what our encoder does not compute."""
    kind = config.get("model_type")
    if kind not in TYPES:
        raise CheckpointError(f"{where}: models of type {kind!r} cannot be imported, only {', '.join(TYPES)}")
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
        raise CheckpointError(f"{where}: only encoders with absolute positions can be imported")
    if config.get("add_cross_attention") or config.get("quantization_config"):
        raise CheckpointError(f"{where}: a model with cross-attention or quantized weights cannot be imported")
    activation = ACTIVATIONS.get(str(config.get("hidden_act", "gelu")))
    if activation is None:
        raise CheckpointError(
            f"{where}: activation {config['hidden_act']!r} is not known; known: {', '.join(ACTIVATIONS)}"
        )
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, (int, float)) or not 0 <= epsilon < 1:
        raise CheckpointError(f"{where}: layer_norm_eps must be a small number, not {epsilon!r:.80}")
    settings = {
        "_name": "roberta",
        "encoder_layers": size_of(config, "num_hidden_layers", where),
        "encoder_embed_dim": size_of(config, "hidden_size", where),
        "encoder_ffn_embed_dim": size_of(config, "intermediate_size", where),
        "encoder_attention_heads": size_of(config, "num_attention_heads", where),
        "activation_fn": activation,
        "layer_norm_eps": float(epsilon),
    }
    for theirs, ours in DROPOUT.items():
        rate = config.get(theirs)
        if rate is not None and (not isinstance(rate, (int, float)) or not 0 <= rate <= 1):
            raise CheckpointError(f"{where}: {theirs} must be a number from 0 to 1, not {rate!r:.80}")
        if rate is not None:
            settings[ours] = float(rate)
    if kind != "bert" and activation != "gelu":  # RoBERTa's language model head has exact GELU only
        settings["lm_head_activation_fn"] = "gelu"
    return settings


def rename(theirs: dict[str, Tensor], config: dict[str, Any], where: str) -> tuple[dict[str, Tensor], list[str]]:
    """Their tensors under our names, and the names of those that our model has no place for.

    Raises:
        CheckpointError: tensors are missing, or the encoder has some that ours has not.
    """
    state, left_out = {}, []
    # a decoder with a separate bias computes with it, so it comes last
    for name, tensor in sorted(theirs.items(), key=lambda item: item[0].endswith("decoder.bias")):
        ours = hf_names.to_fairseq(name)
        if ours is not None:
            state[ours] = tensor
            continue
        left_out.append(name)
        known = name.endswith((".token_type_embeddings.weight", ".position_ids"))
        if hf_names.bare(name).startswith(("encoder.", "embeddings.")) and not known:
            raise CheckpointError(f"{where}: our encoder has no place for {name}; it cannot be imported")
    if config["model_type"] == "bert":  # BERT's classifier: its pooler is our head's first layer
        for kind in ("weight", "bias"):
            pooler, output = f"bert.pooler.dense.{kind}", f"classifier.{kind}"
            if pooler in theirs and output in theirs:
                state[f"classification_heads.{hf_names.HEAD}.dense.{kind}"] = theirs[pooler]
                state[f"classification_heads.{hf_names.HEAD}.out_proj.{kind}"] = theirs[output]
                left_out = [name for name in left_out if name not in (pooler, output)]
    for name in (TOKENS, POSITIONS):
        if name not in state:
            raise CheckpointError(f"{where}: the weights hold no {hf_names.to_hf(name)}; is this an encoder?")
    if config.get("tie_word_embeddings") is False and LM_BIAS in state and LM_WEIGHT not in state:
        raise CheckpointError(f"{where}: config.json unties the output embeddings, but the weights do not hold them")
    types = [name for name in left_out if name.endswith("token_type_embeddings.weight")]
    rest = [name for name in left_out if name not in types and not name.endswith(".position_ids")]
    return state, rest + [f"{name}[1:]" for name in types if len(theirs[name]) > 1]


def _first_position(config: dict[str, Any], rows: int, where: str) -> int:
    """The row of the position table, which has `rows`, that belongs to the first token."""
    if config["model_type"] == "bert":
        return 0
    pad = config.get("pad_token_id")
    if pad is not None and (type(pad) is not int or not 0 <= pad < rows - 1):
        raise CheckpointError(f"{where}: pad_token_id must be a row of the {rows} positions, not {pad!r:.80}")
    return OFFSET if pad is None else pad + 1


def place(state: dict[str, Tensor], theirs: dict[str, Tensor], order: list[int], first_position: int) -> None:
    """Put rows of embeddings, in place, where our dictionary and positions expect them."""
    for name in (TOKENS, LM_WEIGHT, LM_BIAS):
        if name in state:
            state[name] = state[name][order]
    positions = state[POSITIONS]
    if first_position != OFFSET:
        positions = torch.cat([positions.new_zeros(OFFSET, positions.shape[1]), positions[first_position:]])
    types = [tensor for name, tensor in theirs.items() if name.endswith("embeddings.token_type_embeddings.weight")]
    if types:
        positions = torch.cat([positions[:OFFSET], positions[OFFSET:] + types[0][0]])
    state[POSITIONS] = positions
    if LM_BIAS in state and LM_WEIGHT not in state:
        state[LM_WEIGHT] = state[TOKENS]


def class_labels(config: dict[str, Any], state: dict[str, Tensor], where: str) -> Optional[Dictionary]:
    """The dictionary of the classes' names, where the model is a classifier that names them."""
    output = state.get(f"classification_heads.{hf_names.HEAD}.out_proj.weight")
    names = config.get("id2label")
    if output is None or not isinstance(names, dict) or len(output) < 2:
        return None
    labels = Dictionary()
    for index in range(len(output)):
        name = names.get(str(index), f"LABEL_{index}")
        kept = isinstance(name, str) and name.strip() and "\n" not in name
        if not kept or name.startswith(("madeupword", "<mask>")) or name in labels:
            raise CheckpointError(f"{where}: id2label of config.json has a name that no dictionary can hold: {name!r}")
        labels.add_symbol(name)
    return None if label_names(labels) == [f"LABEL_{index}" for index in range(len(output))] else labels


def _untied(state: dict[str, Tensor]) -> bool:
    weight = state.get(LM_WEIGHT)
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
    state: dict[str, Tensor],
    model: dict[str, Any],
    bpe: dict[str, Any],
    dictionary: Dictionary,
    labels: Optional[Dictionary],
    dest: Path,
) -> dict[str, Any]:
    from fairseq.dataclass.typed import typed_config
    from fairseq.dataclass.utils import to_container
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
    texts = {"source": to_text(dictionary), **({} if labels is None else {"label": to_text(labels)})}
    return {
        "args": None,
        "cfg": to_container(typed_config(cfg)),
        "model": state,
        "criterion": None,
        "optimizer_history": [],
        "task_state": {KEY: texts},
        "extra_state": {"train_iterator": {"epoch": 1}, "val_loss": None},
    }
