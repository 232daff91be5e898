"""Dictionaries that travel in checkpoints, so that a model can be used without the data folder it was trained on.

`checkpoint["task_state"]["dictionaries"]` maps a name (`source`, `label`) to the text of the dictionary's `dict.txt`.
fairseq 0.12 takes such an entry along and ignores it.
"""

import io
import logging
from typing import Any, Optional

from fairseq.data import Dictionary
from fairseq.errors import CheckpointError
from fairseq.tasks.fairseq_task import FairseqTask

logger = logging.getLogger(__name__)

KEY = "dictionaries"


def to_text(dictionary: Dictionary) -> str:
    """The contents of `dict.txt`.

    >>> dictionary = Dictionary()
    >>> _ = dictionary.add_symbol("entailment", n=3)
    >>> to_text(dictionary)
    'entailment 3\\n'
    """
    file = io.StringIO()
    dictionary.save(file)
    return file.getvalue()


def carried(task_state: Optional[dict[str, Any]], name: str) -> Optional[Dictionary]:
    """The dictionary `name` of a checkpoint's task state, None if it carries none."""
    texts = (task_state or {}).get(KEY)
    text = texts.get(name) if isinstance(texts, dict) else None
    return Dictionary.load(io.StringIO(text)) if isinstance(text, str) else None


def difference(ours: Dictionary, theirs: Dictionary) -> Optional[str]:
    """Where two dictionaries differ, in words: `12 and 14 entries` or `id 7 is 'x' and 'y'`; None if they do not."""
    if ours.symbols == theirs.symbols:
        return None
    for index, (one, other) in enumerate(zip(ours.symbols, theirs.symbols)):  # noqa: B905 (lengths may differ)
        if one != other:
            return f"id {index} is {one!r} and {other!r}"
    return f"{len(ours)} and {len(theirs)} entries"


class CarriesDictionaries(FairseqTask):
    """A task whose dictionaries are part of its state."""

    takes_task_state = True
    _carried_labels: Optional[Dictionary] = None

    @property
    def label_dictionary(self) -> Optional[Dictionary]:
        """Names of the classes of a model that was trained, or imported, as a classifier: class c is symbol
        c + nspecial. None if no checkpoint brought them.
        """
        return self._carried_labels

    def dictionaries(self) -> dict[str, Dictionary]:
        """Name -> dictionary, those that a checkpoint shall carry."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        if KEY not in self.state.state_dict:  # made once: RoBERTa's has 50,000 lines
            texts = {name: to_text(dictionary) for name, dictionary in self.dictionaries().items()}
            self.state.merge_state_dict({KEY: texts})
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rest of the state; the dictionaries of the data stay, and those of the checkpoint must agree.

        Raises:
            CheckpointError: another dictionary of text: the model's embeddings would belong to other words.
        """
        for name, dictionary in self.dictionaries().items():
            theirs = carried(state_dict, name)
            found = difference(dictionary, theirs) if theirs is not None else None
            if found is None:
                continue
            if name != "label":
                side = "" if name == "source" else f"{name} "
                raise CheckpointError(
                    f"the {side}dictionary of the data does not fit that of the checkpoint: {found}; "
                    "prepare the data with the dict.txt that the checkpoint was trained with"
                )
            logger.warning(f"the {name} dictionary of the data is not that of the checkpoint: {found}")
        self._carried_labels = carried(state_dict, "label")
        super().load_state_dict({key: value for key, value in state_dict.items() if key != KEY})
