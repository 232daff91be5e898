"""Whether a checkpoint of ours and a Hugging Face folder compute the same: features, language model scores, classes.

    compare(folder, Path("model.pt"), order)        # after an import; `order[i]` is their id of our id i
    compare_model(model, head, folder, order)       # after an export, with the model in memory

Both read made-up batches: three rows with padding, and one as long as the model can read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.errors import CheckpointError
from fairseq.interop.hf_names import HEAD
from fairseq.interop.hf_reference import Reference

MAX_DEVIATION = 1e-4  # relative to the largest number; one activation for another is 1e-3
PAD = 1  # of our dictionaries


class Comparison(NamedTuple):
    """Largest differences over all batches, relative to the largest number of their kind (at least 1).

    Attributes:
        differences: by kind: `features`, `lm`, `classes`.
    """

    differences: dict[str, float]

    def summary(self) -> str:
        """Part of a line for people."""
        named = {"features": "features", "lm": "language model scores", "classes": "class scores"}
        parts = [f"{named[kind]} within {difference:.1e}" for kind, difference in self.differences.items()]
        return f"on made-up batches both compute the same: {', '.join(parts)}"


def compare(folder: Path, checkpoint: Path, order: Sequence[int]) -> Comparison:
    """Compare a folder with the checkpoint that was made from it.

    Raises:
        CheckpointError: they compute something else.
    """
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    overrides = {"load_checkpoint_heads": True, "data": str(checkpoint.parent)}
    models, _, _ = load_model_ensemble_and_task([str(checkpoint)], overrides)
    head = HEAD if HEAD in models[0].classification_heads else None
    return compare_model(models[0], head, folder, order)


@torch.no_grad()
def compare_model(model: Any, head: Optional[str], folder: Path, order: Sequence[int]) -> Comparison:
    """Compare a model of ours with a folder.

    Args:
        head: the classification head that was exported.
        order: Hugging Face id of each of our ids; the folder may have more.

    Raises:
        CheckpointError: they compute something else, or one has an output that the other lacks.
    """
    reference, model = Reference(folder), model.float().cpu().eval()
    ids_of = torch.tensor(order)
    found: dict[str, float] = {}
    for tokens in made_up(model, [index for index, theirs in enumerate(order) if theirs == reference.pad]):
        real = tokens != PAD
        ids = torch.where(real, ids_of[tokens], torch.tensor(reference.pad))
        theirs = reference.outputs(ids, real.long())
        ours = {"features": model(tokens, features_only=True)[0]}
        if "lm" in theirs:
            theirs["lm"], ours["lm"] = theirs["lm"][..., ids_of][real], model(tokens)[0][real]
        if head is not None:
            ours["classes"] = model(tokens, classification_head_name=head)[0]
        ours["features"], theirs["features"] = ours["features"][real], theirs["features"][real]
        for kind in sorted({*ours, *theirs}, key=["features", "lm", "classes"].index):
            found[kind] = max(found.get(kind, 0.0), _difference(kind, ours.get(kind), theirs.get(kind), folder))
    return Comparison(found)


def made_up(model: Any, unused: Sequence[int] = ()) -> list[Tensor]:
    """Batches of our ids (B, T) without those in `unused`."""
    words = len(model.encoder.sentence_encoder.embed_tokens.weight)
    choice = torch.tensor([index for index in range(words) if index not in (PAD, *unused)])
    generator = torch.Generator().manual_seed(1)
    longest = max(int(model.max_positions()), 1)
    batches = []
    for rows, columns in ((3, min(16, longest)), (1, longest)):
        tokens = choice[torch.randint(len(choice), (rows, columns), generator=generator)]
        for row in range(1, rows):
            tokens[row, columns - row * columns // 4 :] = PAD
        batches.append(tokens)
    return batches


def _difference(kind: str, ours: Optional[Tensor], theirs: Optional[Tensor], folder: Path) -> float:
    if ours is None or theirs is None:
        side = "our model" if theirs is None else str(folder)
        raise CheckpointError(f"only {side} has {kind}; please report this")
    if ours.shape != theirs.shape:
        raise CheckpointError(f"{folder}: {kind} of shape {tuple(theirs.shape)}, ours have {tuple(ours.shape)}")
    difference = float((ours - theirs).abs().max() / max(float(theirs.abs().max()), 1.0))
    if not difference <= MAX_DEVIATION:
        raise CheckpointError(
            f"{folder} and our model do not compute the same: {kind} differ by {difference:.1e} of the largest; "
            "does the model have additional parts?"
        )
    return difference
