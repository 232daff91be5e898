"""What `verify` has found: tables, JSON values, CSV."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from fairseq.errors import VerificationError
from fairseq.graph.verification.layers import LayerRow
from fairseq.graph.verification.tensors import TensorRow
from fairseq.text_table import text_table


@dataclass
class MaskRow:
    """One pruned parameter: how many of its values a mask holds at zero, and whether they are."""

    weight: str
    pruned: int
    of: int
    holds: bool


@dataclass
class Verification:
    """Of one model.

    Attributes:
        tensors: what the quantizers made of weights and activations.
        layers: what the layers gave.
        masks: of pruned parameters.
        failures: what is wrong, a line each; none where the model does what its plan says.
        notes: what could not be looked at, a line each.
        from_float: distance of the model's result to full precision, None where that cannot be had.
        unwatched: distance of its result without to that with hooks and callbacks.
    """

    tensors: list[TensorRow]
    layers: list[LayerRow]
    masks: list[MaskRow]
    failures: list[str]
    notes: list[str]
    from_float: Any = None
    unwatched: Any = None

    @property
    def passed(self) -> bool:
        return not self.failures

    def check(self) -> None:
        """Raise a VerificationError that names what failed, if anything did."""
        if self.failures:
            more = len(self.failures) - 1
            rest = f" (and {more} more failure{'s' * (more > 1)})" if more else ""
            raise VerificationError(f"verification failed: {self.failures[0]}{rest}")

    def __str__(self) -> str:
        parts = [
            text_table([_named(row, TENSOR_NAMES) for row in self.tensors]),
            text_table([_named(row, LAYER_NAMES) for row in self.layers]),
            text_table([_named(row, MASK_NAMES) for row in self.masks]),
        ]
        parts = [part for part in parts if part]
        if self.from_float is not None:
            parts.append(
                f"model: {self.from_float:.3g} from full precision; {self.unwatched:.3g} between its results with and "
                "without anybody looking"
            )
        parts += [f"note: {line}" for line in self.notes] + [f"failed: {line}" for line in self.failures]
        if not self.failures:
            parts.append(self.summary())
        return "\n\n".join(parts)

    def summary(self) -> str:
        """One line."""
        pieces = [f"{len(self.tensors)} tensors on their grids", f"{len(self.layers)} layers equal to their references"]
        pieces += [f"{len(self.masks)} masks hold"] if self.masks else []
        return f"passed: {', '.join(pieces if self.tensors or self.layers else pieces[2:])}"

    def as_dict(self) -> dict[str, Any]:
        """JSON values; what is not finite is null."""
        rows = {name: [_plain(asdict(row)) for row in getattr(self, name)] for name in ("tensors", "layers", "masks")}
        model = _plain({"from_float": self.from_float, "unwatched": self.unwatched})
        return {"passed": self.passed, "failures": self.failures, "notes": self.notes, "model": model, **rows}

    def csv_text(self) -> str:
        """One line per tensor, layer and mask; the first column says which."""
        rows: Iterable[Any] = (*self.tensors, *self.layers, *self.masks)
        kinds = {TensorRow: "tensor", LayerRow: "layer", MaskRow: "mask"}
        lines = [{"row": kinds[type(row)], **asdict(row)} for row in rows]
        out = io.StringIO()
        writer = csv.DictWriter(out, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return out.getvalue()


TENSOR_NAMES = {
    "quantizer": "quantizer", "format": "format", "bits": "bits", "on_grid": "on grid", "levels": "levels",
    "allowed": "of", "code_low": "code from", "code_high": "to", "max_error": "error / half step",
    "nearest": "nearest", "clipped": "clipped %", "sqnr": "SQNR dB", "stored": "stored on grid",
}  # fmt: skip
LAYER_NAMES = {
    "layer": "layer", "type": "type", "calls": "calls", "used": "quantizers used", "quantizers": "of",
    "from_float": "from float", "from_reference": "from reference", "failure": "result",
}  # fmt: skip
MASK_NAMES = {"weight": "pruned weight", "pruned": "zeros", "of": "of", "holds": "holds"}


def _named(row: Any, names: dict[str, str]) -> dict[str, Any]:
    found = {}
    for place, (field, name) in enumerate(names.items()):
        value = getattr(row, field)
        if isinstance(value, bool):
            value = "yes" if value else "no" if field == "stored" else "NO"  # while a model is trained it is not
        if field == "failure":
            value = "not called" if not row.calls else "ok" if value is None else "FAILED"
        found[name] = "(the model)" if not place and value == "" else value
    return found


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
