"""A checkpoint of `sentence_prediction` as a function from texts to named classes or numbers.

    predictor = Predictor.from_checkpoint("int8.pt")
    predictor.predict([("A good film.",), ("A bad one.",)])
    # [{"label": "pos", "score": 0.98, "scores": {"pos": 0.98, "neg": 0.02}}, ...]

Texts are cut by the tokenizer that the checkpoint carries, and put between the marks that its task put them between, so
that the model reads what it would read in a data folder. Packed weights stay integers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task
from fairseq.data.class_names import task_class_names
from fairseq.data.encoders import build_bpe, carried
from fairseq.errors import CheckpointError, ConfigError
from fairseq.quantization import keep_integer_weights
from fairseq.tasks.dictionaries import carried as carried_dictionary

NOWHERE = "/dev/null/no-data"  # a checkpoint that carries its dictionaries needs no folder, and takes none by chance
Record = dict[str, Any]


class Predictor:
    """See the head of this file.

    Attributes:
        columns: names of the one or two texts, None if the checkpoint does not know them.
        names: of the classes, in order; numbers as text where they are unknown; None for a regression.
    """

    def __init__(self, model: Any, task: Any, bpe: Any):
        self.model, self.task, self.bpe = model, task, bpe
        self.dictionary = task.source_dictionary
        self.head, outputs = task.head()
        described = task.carried_text()
        self.columns: Optional[list[str]] = None if described is None else described["columns"]
        self.names: Optional[list[str]] = None
        if not task.cfg.regression_target:
            self.names = task_class_names(task, outputs) or [str(number) for number in range(outputs)]
        self.most_tokens = min(task.max_positions(), model.max_positions())

    @classmethod
    def from_checkpoint(
        cls,
        path: str,
        *,
        data: Optional[Path] = None,
        bpe_dir: Optional[Path] = None,
        compute: Optional[str] = None,
        device: str = "cpu",
    ) -> "Predictor":
        """The model of a checkpoint, ready for use.

        Args:
            data: data folder, for checkpoints that do not carry their dictionaries.
            bpe_dir: folder with the tokenizer's files, for checkpoints that do not carry theirs.
            compute: `integer`, `simulate` or `auto` (the faster one for each layer, the default) for a quantized model.

        Raises:
            CheckpointError: it cannot be read, or is of another task.
            ConfigError: it does not say how texts are cut, and nothing else does.
        """
        state = load_checkpoint_to_cpu(path)
        cfg = state["cfg"]
        kind = None if cfg is None or cfg.get("task") is None else cfg.task._name
        if kind != "sentence_prediction":
            raise CheckpointError(
                f"{path} is a checkpoint of task={kind}; predictions are made by those of sentence_prediction"
            )
        if data is not None:
            cfg.task.data = str(data)
        elif carried_dictionary(state.get("task_state"), "source") is not None:
            cfg.task.data = NOWHERE
        if cfg.quantization.preset != "none":
            cfg.quantization.compute = compute or "auto"
        elif compute is not None:
            raise ConfigError(f"{path} is not quantized, so --compute {compute} has no effect; leave it out")
        (model,), cfg, task = load_model_ensemble_and_task([path], state=state)
        if cfg.quantization.preset != "none" and compute == "integer":
            keep_integer_weights(model)
        return cls(model.to(device).eval(), task, _bpe(path, cfg, task, bpe_dir))

    # -- texts to tokens ---------------------------------------------------------------------------------------------

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[list[int]]:
        """Token ids of each example, as its data folder would hold them, cut where the task cuts."""
        cfg, dictionary = self.task.cfg, self.dictionary
        parts = self._pieces([text for texts in examples for text in texts])
        rows = []
        for texts in examples:
            row = [] if cfg.init_token is None else [cfg.init_token]
            for number in range(len(texts)):
                if number and cfg.separator_token is not None:
                    row.append(cfg.separator_token)
                row += next(parts)
                row.append(dictionary.eos())
            rows.append(row[: self.most_tokens] if self._cuts() else row)
        return rows

    def _pieces(self, texts: Sequence[str]) -> Any:
        find, unk = self.dictionary.indices.get, self.dictionary.unk()
        if self.bpe is None:
            lines = texts
        elif hasattr(self.bpe, "encode_lines"):
            lines = self.bpe.encode_lines(texts)
        else:
            lines = [self.bpe.encode(text) for text in texts]
        return ([find(piece, unk) for piece in line.split()] for line in lines)

    def _cuts(self) -> bool:
        """Whether the task cuts the end of long examples, those of training alone not counted."""
        cfg = self.task.cfg
        splits = cfg.shorten_data_split_list
        return cfg.shorten_method == "truncate" and (not splits or any(s != "train" for s in splits.split(",")))

    # -- tokens to predictions ---------------------------------------------------------------------------------------

    def predict(
        self, examples: Sequence[tuple[str, ...]], batch_size: int = 32, by_length: bool = True
    ) -> list[Record]:
        """A record for each example, in their order: its label and scores, its value, or its `error`.

        Args:
            by_length: put examples of like length into a batch, which takes less padding.
        """
        rows = self.encode(examples)
        records: list[Record] = [{} for _ in rows]
        order = []
        for index, row in enumerate(rows):
            if len(row) > self.most_tokens:
                records[index] = {"error": f"{len(row)} tokens, the model reads {self.most_tokens}"}
            elif not row:
                records[index] = {"error": "no tokens"}
            else:
                order.append(index)
        if by_length:
            order.sort(key=lambda index: -len(rows[index]))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            for index, outputs in zip(batch, self.scores([rows[index] for index in batch]).tolist(), strict=True):
                records[index] = self._record(outputs)
        return records

    @torch.inference_mode()
    def scores(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Probabilities of the classes (B, classes) for rows of token ids, or the numbers (B, 1) of a regression."""
        longest = max(map(len, rows))
        pad = self.dictionary.pad()
        tokens = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])  # (B, T)
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        logits, _ = self.model(tokens.to(device), features_only=True, classification_head_name=self.head)
        logits = logits.float()
        return logits.cpu() if self.names is None else logits.softmax(dim=-1).cpu()

    def _record(self, outputs: list[float]) -> Record:
        if any(value != value for value in outputs):
            return {"error": "the model's scores are NaN"}
        if self.names is None:
            values = [float(f"{value:.7g}") for value in outputs]
            return {"value": values[0]} if len(values) == 1 else {"values": values}
        scores = {name: round(value, 6) for name, value in zip(self.names, outputs, strict=True)}
        best = max(range(len(outputs)), key=outputs.__getitem__)
        return {"label": self.names[best], "score": scores[self.names[best]], "scores": scores}


def _bpe(path: str, cfg: Any, task: Any, bpe_dir: Optional[Path]) -> Any:
    """What cuts texts: by the folder that was given, as the checkpoint carries it, or as its config says."""
    if bpe_dir is not None:
        from fairseq.own_data.subwords import from_folder

        return from_folder(bpe_dir).bpe()
    described = task.carried_text()
    if described is not None:
        return carried.build(described, path)
    if cfg.get("bpe") is not None:
        return build_bpe(cfg.bpe)
    raise ConfigError(f"{path} does not say how its texts are cut; give the folder of its tokenizer by --bpe-dir")
