"""What an export takes from a checkpoint of ours: the model in full precision, dictionary, tokenizer, classes.

    source = read(Path("checkpoint_best.pt"))
    source.model, source.dictionary, source.labels, source.bpe

No data folder is needed. Weights of a head under spectral norm are what the head computes with.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

from torch import nn

from fairseq.checkpoint.format import load_weights
from fairseq.data.class_names import known_class_names
from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders import carried as carried_text
from fairseq.errors import CheckpointError, ConfigError, unknown
from fairseq.graph.replay import prepare
from fairseq.interop.hf_import import OFFSET

TABLES = ("embed_tokens.weight", "embed_positions.weight")


@dataclass
class Source:
    """A checkpoint's contents.

    Attributes:
        model: in evaluation, with all heads, without quantizers.
        dictionary: of the words, where the checkpoint carries it.
        labels: dictionary of the classes, likewise.
        bpe: config node of the tokenizer that it names, None if it names none.
        task: config node of its task.
        preset: how it was quantized, None if it was not.
        has_lm_head: whether the file holds a language model head.
        text: the tokenizer that it carries, None if it carries none.
    """

    model: Any
    dictionary: Optional[Dictionary]
    labels: Optional[Dictionary]
    bpe: Any
    task: Any
    preset: Optional[str]
    has_lm_head: bool
    text: Optional[dict[str, Any]] = None

    def tokenizer_settings(self, where: str) -> AbstractContextManager[Any]:
        """The config node of the tokenizer that the checkpoint carries, or else names, for a `with` block."""
        return nullcontext(self.bpe) if self.text is None else carried_text.in_files(self.text, where)

    def chosen_head(self, head: Optional[str], where: str) -> Optional[str]:
        """The classification head named by `head`; None if the model has none and `head` is None.

        Raises:
            ConfigError: no such head, or several to choose from.
        """
        heads = sorted(self.model.classification_heads)
        if head is not None and head not in heads:
            raise ConfigError(unknown("classification head", head, heads, where))
        if head is None and len(heads) > 1:
            raise ConfigError(f"{where} has the classification heads {', '.join(heads)}; choose one with --head")
        return head or (heads[0] if heads else None)

    def class_names(self, head: str, data: Optional[Path] = None) -> Optional[list[str]]:
        """Names of a head's classes: the checkpoint's, else those of the data folder `data`; None if not known."""
        classes = self.model.classification_heads[head].out_proj.out_features
        return known_class_names(self.labels, data, classes)


def read(checkpoint: Path) -> Source:
    """Read a checkpoint of any age.

    Raises:
        CheckpointError: the file cannot be read, does not say how its model is built, or holds no RoBERTa.
    """
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu
    from fairseq.models.building import build_model
    from fairseq.models.config import writable
    from fairseq.models.roberta import RobertaModel
    from fairseq.tasks.dictionaries import carried

    state = load_checkpoint_to_cpu(str(checkpoint))
    cfg = state.get("cfg")
    rows = {name.split(".")[-2]: len(tensor) for name, tensor in state["model"].items() if name.endswith(TABLES)}
    if cfg is None or len(rows) < len(TABLES):
        raise CheckpointError(f"{checkpoint} does not say how its model is built, or has no embeddings")
    with writable(cfg.model):
        cfg.model.load_checkpoint_heads = True
    task = SimpleNamespace(
        source_dictionary=_of_size(rows["embed_tokens"]), max_positions=lambda: rows["embed_positions"] - OFFSET
    )
    model = prepare(build_model(cfg.model, task), state, str(checkpoint))
    if not isinstance(model, RobertaModel):
        raise CheckpointError(f"{checkpoint} holds a {type(model).__name__}; only RoBERTa can be exported")
    has_lm_head = any(".lm_head." in name for name in state["model"])
    load_weights(model, state["model"], str(checkpoint), model_cfg=cfg.model)
    heads: Any = model.classification_heads.values()
    for head in heads:
        if hasattr(head.out_proj, "weight_orig"):
            nn.utils.remove_spectral_norm(head.out_proj)
    preset = str(cfg.quantization.preset)
    task_state = state.get("task_state")
    return Source(
        model=model.eval(),
        dictionary=carried(task_state, "source"),
        labels=carried(task_state, "label"),
        bpe=cfg.get("bpe"),
        text=(task_state or {}).get(carried_text.KEY),
        task=cfg.get("task"),
        preset=None if preset == "none" else preset,
        has_lm_head=has_lm_head,
    )


def _of_size(words: int) -> Dictionary:
    dictionary = Dictionary()
    for index in range(len(dictionary), words):
        dictionary.add_symbol(str(index))
    return dictionary
