"""The classifier in a checkpoint, with all its heads, quantized as it was trained. No data folder is needed.

classifier = read_classifier("checkpoint_best.pt")
classifier.model, classifier.labels
"""

from typing import Any, NamedTuple, Optional, cast

from fairseq import checkpoint_utils, models
from fairseq.data.dictionary import Dictionary
from fairseq.errors import CheckpointError
from fairseq.interop.hf_import import OFFSET
from fairseq.models.config import writable
from fairseq.models.roberta import RobertaModel
from fairseq.models.roberta.heads import RobertaClassificationHead
from fairseq.tasks.dictionaries import carried

TABLE, POSITIONS = "embed_tokens.weight", "embed_positions.weight"


class _Sizes:
    """A task that knows how many words and positions there are, which is all that building the model takes."""

    def __init__(self, words: int, positions: int):
        self.source_dictionary = Dictionary()
        for index in range(len(self.source_dictionary), words):
            self.source_dictionary.add_symbol(f"word{index}")
        self.positions = positions

    def max_positions(self) -> int:
        return self.positions

    def build_model(self, cfg: Any) -> Any:
        return models.build_model(cfg, self)

    def load_state_dict(self, state: Any) -> None:
        """Dictionaries and the like play no part here."""


class Classifier(NamedTuple):
    """A checkpoint's contents.

    Attributes:
        model: with all its heads, quantized as it was trained.
        labels: dictionary of the classes' names, where the checkpoint carries it.
    """

    model: RobertaModel
    labels: Optional[Dictionary] = None


def read_classifier(checkpoint: str) -> Classifier:
    """What the file `checkpoint` holds.

    Raises:
        CheckpointError: the file cannot be read, or holds another kind of model.
    """
    state = checkpoint_utils.load_checkpoint_to_cpu(checkpoint)
    rows = {name: len(tensor) for name, tensor in state["model"].items() if name.endswith((TABLE, POSITIONS))}
    words = [count for name, count in rows.items() if name.endswith(TABLE)]
    if state.get("cfg") is None or len(words) != 1:
        raise CheckpointError(f"{checkpoint} holds no RoBERTa with its config; nothing else can be exported")
    with writable(state["cfg"].model):
        state["cfg"].model.load_checkpoint_heads = True
    positions = [count for name, count in rows.items() if name.endswith(POSITIONS)] or [0]
    task = _Sizes(words[0], positions[0] - OFFSET)
    model = checkpoint_utils.load_model_ensemble([checkpoint], task=task, state=state)[0][0]
    if not isinstance(model, RobertaModel):
        raise CheckpointError(f"{checkpoint} holds a {type(model).__name__}; only RoBERTa can be exported")
    return Classifier(model, carried(state.get("task_state"), "label"))


def classifier(model: RobertaModel, head: str) -> RobertaClassificationHead:
    return cast(RobertaClassificationHead, model.classification_heads[head])


def num_classes(model: RobertaModel, head: str) -> int:
    """Scores of a head."""
    return int(cast(Any, classifier(model, head).out_proj).out_features)
