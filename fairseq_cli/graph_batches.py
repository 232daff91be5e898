"""What actions of fairseq-graph run a model on: batches of a checkpoint's data, or random values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

Run = Callable[[Any, Any], Any]


def from_data(
    path: str, data: Path, subset: str, batches: int, batch_size: int
) -> tuple[Any, list[Any], Optional[Run]]:
    """The model of a checkpoint, batches of its task's data, and how to run the model on one.

    Raises:
        ConfigError: `path` is no file.
    """
    from fairseq.checkpoint_tools.batches import batches_of
    from fairseq.checkpoint_utils import load_model_ensemble_and_task
    from fairseq.errors import ConfigError
    from fairseq.graph.python_files import check_is_model

    if (Path(path) / "checkpoint.pt").is_file():
        path = str(Path(path) / "checkpoint.pt")  # of a run folder
    if not Path(path).is_file():
        raise ConfigError(f"{path}: --data is for checkpoints, whose task reads it; for other models give --input")
    check_is_model(Path(path))
    models, cfg, task = load_model_ensemble_and_task([path], arg_overrides={"data": str(data)})
    samples = list(batches_of(task, subset, batch_size, batches, shuffle=False))
    criterion = task.build_criterion(cfg.criterion)
    return models[0], samples, lambda model, sample: task.valid_step(sample, model, criterion)


def made_up(path: str, inputs: list[str], batches: int, seed: int = 1) -> tuple[Any, list[Any], Optional[Run]]:
    """A model, and batches of random values for its inputs; none where nobody says what they are."""
    from fairseq.graph.sources import load_model, make_inputs

    model = load_model(path)
    made = [make_inputs(model, inputs, number) for number in range(seed, seed + batches)]
    return model, [batch for batch in made if batch is not None], None
