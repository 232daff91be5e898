"""A checkpoint that is scored and whose model is measured.

loaded = LoadedModel.read(cfg, Path("checkpoint_last.pt"), "train[90%:]")
loaded.scores()["accuracy"], loaded.costs()["average_bits"]
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq import checkpoint_utils, utils
from fairseq.checkpoint_tools.batches import batches_of
from fairseq.quantization import quantize_model
from fairseq.studies.search.costs import costs, products
from fairseq.training.evaluation import Evaluation, evaluate
from fairseq.training.precision import Precision, choose_device

# how fast a run was, and the like
NUMBERS_OF_RUNS = ("wps", "ups", "wpb", "bsz", "wall", "train_wall", "num_updates")


@dataclass
class LoadedModel:
    """What is needed to evaluate a model on a subset."""

    evaluation: Evaluation
    subset: str

    @classmethod
    def read(
        cls, cfg: Any, checkpoint: Path, subset: str, quantization: Optional[Mapping[str, Any]] = None
    ) -> "LoadedModel":
        """The model of a checkpoint; see `Reader.load`."""
        return Reader(cfg, subset).load(checkpoint, quantization)

    @classmethod
    def of(cls, cfg: Any, task: Any, model: Any, criterion: Any, subset: str) -> "LoadedModel":
        """A model that is at hand."""
        device = choose_device(cfg.common, cfg.distributed_training.device_id)
        model.to(device).eval()
        built = task.build_criterion(criterion).to(device).eval()
        return cls(Evaluation(cfg, task, [model], built, Precision.from_config(cfg.common, device)), subset)

    def scores(self) -> dict[str, float]:
        """What validation reports on the whole subset."""
        return scores_of(evaluate(self.evaluation, self.subset))

    def costs(self, latency_repeats: int = 0) -> dict[str, Any]:
        """Of the model, by the names of objectives; products are those of the subset's first batch."""
        sample, examples = self._sample()
        own = self.evaluation
        return dict(costs(own.models[0], lambda: self._forward(sample), examples, latency_repeats))

    def used(self) -> dict[str, float]:
        """Paths of the modules and functions that multiply in a forward pass."""
        sample, _ = self._sample()
        return products(self.evaluation.models[0], lambda: self._forward(sample))

    def _forward(self, sample: Any) -> Any:
        own = self.evaluation
        with own.precision.autocast():
            return own.task.valid_step(sample, own.models[0], own.criterion)

    def _sample(self) -> tuple[Any, int]:
        own = self.evaluation
        size = own.cfg.dataset.batch_size_valid or own.cfg.dataset.batch_size or 8
        (sample,) = batches_of(own.task, self.subset, size, 1, shuffle=False)
        examples = int(sample["nsentences"]) if isinstance(sample, Mapping) and "nsentences" in sample else size
        return utils.move_to_device(sample, own.precision.device), examples


class Reader:
    """Loads checkpoints, and keeps the last one: trials may differ in what is done to it alone.

    Args:
        cfg: the root config: batch sizes, device.
    """

    def __init__(self, cfg: Any, subset: str):
        self.cfg, self.subset = cfg, subset
        self._key: Any = None
        self._held: Any = None

    def load(self, checkpoint: Path, quantization: Optional[Mapping[str, Any]] = None) -> LoadedModel:
        """The model of a checkpoint.

        Args:
            quantization: what is done to the model first, as a config's group.
        """
        key = checkpoint, checkpoint.stat().st_mtime_ns
        if key != self._key:
            self._key, self._held = key, checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
        models, saved, task = self._held
        model = copy.deepcopy(models[0])
        if quantization is not None and quantization["preset"] != "none":
            model = quantize_model(model, dict(quantization))
        return LoadedModel.of(self.cfg, task, model, saved.criterion, self.subset)


def scores_of(stats: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a validation, without those of its speed."""
    return {
        key: float(value)
        for key, value in stats.items()
        if key not in NUMBERS_OF_RUNS and not key.startswith("best_") and isinstance(value, (int, float))
    }
