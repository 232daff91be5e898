"""A checkpoint of RoBERTa -> a Hugging Face folder: config.json, model.safetensors and tokenizer files.

    export = export_encoder(Path("roberta.base/model.pt"), Path("roberta-hf"))
    print(export.summary())

The weights are written bit for bit. What was imported from a BERT-type model becomes a RoBERTa that computes the same:
token type 0 is part of its positions already, and the tokenizer's ids are those of our dictionary. What was written is
read again and compared with our model before it takes its place; what Hugging Face's RoBERTa does not compute is an
error.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.checkpoint.writing import atomic
from fairseq.data.dictionary import Dictionary
from fairseq.errors import CheckpointError, ConfigError
from fairseq.interop import hf_export_tokenizer, hf_names, own_model, own_tokenizer
from fairseq.interop.hf_compare import Comparison, compare_model
from fairseq.interop.hf_export_config import labels, settings
from fairseq.interop.hf_export_tokenizer import Template
from fairseq.interop.hf_import import LM_WEIGHT, TOKENS
from fairseq.output_files import check_folder, staged

LAYOUT = "encoder.sentence_encoder.version"  # a number that says how old the names are, no weight
EMBEDDING = "roberta.embeddings.word_embeddings.weight"
MASKED_LOGIT = -1e4  # score of a token that must not be predicted; fp16 holds it, too
WRITTEN = ("config.json", "model.safetensors", *hf_export_tokenizer.WRITTEN)


class Export(NamedTuple):
    """What was written.

    Attributes:
        path: the folder.
        architecture: name of the Hugging Face class that it is for.
        head: the classification head that was exported.
        names: of its classes; None if they are unknown.
        tokenizer: the kind of tokenizer; None without one.
        extra: ids of tokens that the model's dictionary lacks.
        preset: the quantizers that were left behind, None if there were none.
        comparison: with our model, in full precision.
    """

    path: str
    architecture: str
    head: Optional[str]
    names: Optional[list[str]]
    tokenizer: Optional[str]
    extra: int
    preset: Optional[str]
    comparison: Comparison

    def notes(self) -> list[str]:
        """Notes for the user, a line each."""
        found = []
        if self.preset is not None:
            found.append(f"the quantizers of {self.preset} are not in {self.path}: it predicts in full precision")
        if self.head is not None and self.names is None:
            found.append(
                f"nothing names the classes of head {self.head}: config.json calls them LABEL_0, ... (--data names a "
                "folder with label/dict.txt)"
            )
        if self.extra:
            found.append(
                f"{self.extra} tokens that the dictionary lacks have ids of their own, with the embedding of <unk>"
            )
        return found

    def summary(self) -> str:
        """One line for people."""
        head = "" if self.head is None else f", head {self.head}"
        classes = "" if self.names is None else f" (classes {', '.join(self.names)})"
        load = f"transformers.{self.architecture}.from_pretrained({self.path!r})"
        return f"wrote {self.path}{head}{classes}: {load}; {self.comparison.summary()}"


def export_encoder(
    checkpoint: Path,
    dest: Path,
    bpe_dir: Optional[Path] = None,
    head: Optional[str] = None,
    *,
    overwrite: bool = False,
    with_tokenizer: bool = True,
    drop_quantizers: bool = False,
    data: Optional[Path] = None,
) -> Export:
    """Write `dest`.

    Args:
        checkpoint: of any age.
        bpe_dir: folder with the tokenizer's files; None takes the tokenizer that the checkpoint names.
        head: which classification head to export, if the checkpoint has several.
        overwrite: replace the files of an earlier export.
        with_tokenizer: False writes none.
        drop_quantizers: export a checkpoint that was trained quantized, in full precision.
        data: a data folder whose label dictionary names the classes where the checkpoint does not.

    Raises:
        CheckpointError: the file cannot be read, or holds what Hugging Face's RoBERTa does not compute.
        ConfigError: no such head, files that are there already, or quantizers that would be left behind.
    """
    check_folder(dest, WRITTEN, overwrite)
    source, where = own_model.read(checkpoint), str(checkpoint)
    if source.preset is not None and not drop_quantizers:
        raise ConfigError(
            f"{where} was trained with quantization={source.preset}, which Hugging Face's RoBERTa does not have; "
            "--drop-quantizers exports its weights in full precision, fairseq-export-onnx the quantized classifier"
        )
    head = source.chosen_head(head, where)
    has_lm_head = head is None and source.has_lm_head
    config = settings(source.model, head, has_lm_head, where)
    names = None
    if head is not None:
        classes = source.model.classification_heads[head].out_proj.out_features
        names = source.class_names(head, data)
        config |= labels(classes, names)
    state = rename(source.model, head, has_lm_head, where)
    size, extra = config["vocab_size"], 0
    with source.tokenizer_settings(where) as bpe, staged(dest, WRITTEN, overwrite) as new:
        tokenizer = own_tokenizer.find(bpe, checkpoint.parent, bpe_dir) if with_tokenizer else None
        if tokenizer is not None:
            dictionary = dictionary_of(source, tokenizer, size)
            longest = int(source.model.max_positions())
            extra = hf_export_tokenizer.export(tokenizer, dictionary, size, new, longest, template(source.task))
            config["vocab_size"] += extra
            add_rows(state, dictionary.unk(), extra)
        write_tensors(state, new / "model.safetensors")
        (new / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        comparison = compare_model(source.model, head, new, range(size))
    kind = None if tokenizer is None else tokenizer.kind
    return Export(str(dest), config["architectures"][0], head, names, kind, extra, source.preset, comparison)


def dictionary_of(source: own_model.Source, tokenizer: own_tokenizer.OwnTokenizer, size: int) -> Dictionary:
    """The words of a model: those that the checkpoint carries, else those of the dict.txt next to its tokenizer."""
    dictionary, path = source.dictionary, tokenizer.folder / "dict.txt"
    if dictionary is None:
        if not path.exists():
            raise CheckpointError(
                f"the checkpoint carries no dictionary, and there is no {path}; put its dict.txt there"
            )
        dictionary = Dictionary.load(str(path))
    if "<mask>" not in dictionary and len(dictionary) < size:
        dictionary.add_symbol("<mask>")  # published dictionaries leave it out: the task adds it
    return dictionary


def template(task: Any) -> Optional[Template]:
    """The tokens that a checkpoint's task puts around sentences, None for a task without sentences."""
    if task is None or task.get("_name") != "sentence_prediction":
        return None
    return Template(task.get("init_token") is not None, task.get("separator_token") is not None)


def rename(model: Any, head: Optional[str], has_lm_head: bool, where: str) -> dict[str, Tensor]:
    """Our tensors under their names: the encoder, and one head."""
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "classification_heads":
            if parts[1] != head:
                continue
            parts[1] = hf_names.HEAD
        unwritten = ".lm_head." in name and (not has_lm_head or (name == LM_WEIGHT and _is_tied(model)))
        if name == LAYOUT or unwritten:
            continue
        theirs = hf_names.to_hf(".".join(parts))
        if theirs is None:
            raise CheckpointError(f"{where}: Hugging Face's RoBERTa has no place for {name}; it cannot be exported")
        state[theirs] = tensor.detach().contiguous()
        if name == TOKENS:
            state["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, tensor.shape[1])
    if "lm_head.decoder.weight" in state:
        state["lm_head.decoder.bias"] = state["lm_head.bias"].clone()  # one vector under two names
    return state


def _is_tied(model: Any) -> bool:
    return not model.args.untie_weights_roberta


def add_rows(state: dict[str, Tensor], unk: int, extra: int) -> None:
    """Give a model, in place, tokens that it reads as `<unk>` and never predicts."""
    if not extra:
        return
    for name in (EMBEDDING, "lm_head.decoder.weight"):
        if name in state:
            state[name] = torch.cat([state[name], state[name][unk].expand(extra, -1)])
    for name in ("lm_head.bias", "lm_head.decoder.bias"):
        if name in state:
            state[name] = torch.cat([state[name], state[name].new_full((extra,), MASKED_LOGIT)])


def write_tensors(state: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save

    with atomic(str(path)) as file:
        file.write(save(state, metadata={"format": "pt"}))
