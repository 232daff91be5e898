"""How often an exported classifier predicts what its checkpoint predicts, on real examples.

    found = compare_on_data("checkpoint_best.pt", model, "head", run, Path("RTE-bin"), "valid")
    print(found.summary())

Each side computes for itself. Where a value lies between two codes of a quantizer, sums that are rounded otherwise may
decide for the other one, and a few predictions that were close change with it.
"""

from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from fairseq import checkpoint_utils, tasks
from fairseq.checkpoint_tools.batches import batches_of
from fairseq.errors import CheckpointError, ConfigError
from fairseq.export.reading import num_classes
from fairseq.export.runtime import Run
from fairseq.job_progress import track
from fairseq.models.roberta import RobertaModel


class OnData(NamedTuple):
    """Differences over examples.

    Attributes:
        subset, examples: what was compared.
        differing: predicted classes that are not the same; None for a regression.
        logit: largest difference of two logits.
        scale: the largest logit.
    """

    subset: str
    examples: int
    differing: Optional[int]
    logit: float
    scale: float

    def summary(self) -> str:
        """Part of a one-line summary."""
        logits = f"logits within {self.logit:.1e} (they go up to {self.scale:.1e})"
        if self.differing is None:
            return f"on {self.examples} examples of {self.subset}: {logits}"
        predictions = "1 prediction differs" if self.differing == 1 else f"{self.differing} predictions differ"
        return f"on {self.examples} examples of {self.subset}: {predictions}, {logits}"


@torch.no_grad()
def compare_on_data(
    checkpoint: str,
    model: RobertaModel,
    head: str,
    run: Run,
    data: Path,
    subset: str = "valid",
    batches: Optional[int] = None,
    batch_size: int = 16,
) -> OnData:
    """Run both on a subset of a data folder.

    Args:
        checkpoint: its task reads the data.
        model: in evaluation.
        run: the exported file.
        batches: how many; None for all.

    Raises:
        ConfigError: the checkpoint's task is not one about sentences. DataError: no such data.
    """
    examples = differing = 0
    logit = scale = 0.0
    found = _batches(checkpoint, data, subset, batches, batch_size)
    for tokens in track(found, "comparing predictions", batches, "batch"):
        ours = model(tokens, classification_head_name=head)[0]
        theirs = run(tokens)["logits"]
        examples += len(tokens)
        differing += int((ours.argmax(-1) != theirs.argmax(-1)).sum())
        logit = max(logit, float((ours - theirs).abs().max()))
        scale = max(scale, float(ours.abs().max()))
    regression = num_classes(model, head) == 1
    return OnData(subset, examples, None if regression else differing, logit, scale)


def _batches(checkpoint: str, data: Path, subset: str, batches: Optional[int], batch_size: int) -> Any:
    state = checkpoint_utils.load_checkpoint_to_cpu(checkpoint, {"data": str(data)})
    if state.get("cfg") is None:
        raise CheckpointError(f"{checkpoint} does not say what its task is; leave out --data")
    task = tasks.setup_task(state["cfg"].task, from_checkpoint=True, task_state=state.get("task_state"))
    if not hasattr(task, "head"):
        raise ConfigError(
            f"--data is for checkpoints that were trained to classify; the task of {checkpoint} is "
            f"{state['cfg'].task.get('_name')}"
        )
    for sample in batches_of(task, subset, batch_size, batches, shuffle=False):
        tokens = sample.get("net_input", {}).get("src_tokens")
        if tokens is None:
            raise ConfigError(f"--data: batches of the task {state['cfg'].task.get('_name')} cannot be compared")
        yield tokens
