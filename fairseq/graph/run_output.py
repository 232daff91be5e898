"""What `transform` writes: the parts of a run folder, read back and compared before they take their name."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq.checkpoint import writing
from fairseq.errors import ConfigError, FairseqError
from fairseq.graph.config.files import write_yaml
from fairseq.graph.fingerprint import fingerprint
from fairseq.graph.inputs import make_inputs
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.replay import group_of
from fairseq.graph.run_folder import CHECKPOINT, CONFIG, QUANTIZERS, WEIGHTS, rebuilt, whole_folder, write_metadata
from fairseq.graph.sources import load_model
from fairseq.graph.tracing import trace
from fairseq.graph.weights import weights_of
from fairseq.quantization.metadata_state import quantizer_state
from fairseq.quantization.quantized_model import get_quantization


def write_run(done: Any, dest: Path, overwrite: bool = False) -> None:
    """Write a `Transformed` to the run folder `dest`, whole or not at all.

    Raises:
        ConfigError: the folder cannot be written, or the model would not come back as it is.
    """
    with whole_folder(dest, overwrite) as folder:
        graph: ModelGraph = done.graph
        quantization = get_quantization(graph.model)
        steps, inputs = [*done.start.steps, *done.steps], list(done.start.inputs)
        if done.start.state is not None:
            from fairseq.checkpoint_tools.transformed import write_checkpoint

            write_checkpoint(folder / CHECKPOINT, done.start.state, graph.model, steps, inputs, graph.leaves)
        else:
            writing.save(weights_of(graph.model), str(folder / WEIGHTS))
            if quantization is not None and (ranges := quantizer_state(graph.model)):
                writing.save(ranges, str(folder / QUANTIZERS))
        write_metadata(folder, {
            "model": done.start.source,
            "weights": CHECKPOINT if done.start.state is not None else WEIGHTS,
            "inputs": inputs,
            "leaves": list(graph.leaves),
            "passes": steps,
            "quantization": None if quantization is None else {
                "config": group_of(quantization.config), "plan": quantization.plan.as_dicts()
            },
            "result": done.fingerprint,
            "torch": torch.__version__,
        })  # fmt: skip
        (folder / CONFIG).write_text(write_yaml(_from_anywhere(done)), encoding="utf-8")
        summary = done.summary()
        summary.save(folder)
        (folder / "summary_table.csv").rename(folder / "summary.csv")
        (folder / "summary_histogram.csv").rename(folder / "histogram.csv")
        for _, result in done.results:
            if hasattr(result, "save"):
                _save(result, folder)
        if done.start.source is not None:
            _check(done, folder)


def _save(result: Any, folder: Path) -> None:
    """Write what a pass says; a file whose name is taken gets a number."""
    apart = folder / ".part"
    apart.mkdir()
    result.save(apart)
    for file in sorted(apart.iterdir()):
        number, place = 1, folder / file.name
        while place.exists():
            number += 1
            place = folder / f"{file.stem}-{number}{file.suffix}"
        file.rename(place)
    apart.rmdir()


def _from_anywhere(done: Any) -> dict[str, Any]:
    """The settings in force, with paths that are the same in every folder."""
    values: dict[str, Any] = done.settings.values()
    found = {"model": done.start.source, "load_name": done.start.weights}
    return {**{key: value for key, value in found.items() if value is not None}, **{
        key: value for key, value in values.items() if key not in found
    }}  # fmt: skip


def _check(done: Any, folder: Path) -> None:
    """Read the folder and compare: a run folder that gives another model is never written."""
    try:
        model = rebuilt(folder, load_model)
        again = trace(model, make_inputs(model, ()), done.graph.leaves, check=False)
    except FairseqError as error:
        raise ConfigError(f"the result cannot be saved: {error}") from None
    same = fingerprint(again) == done.fingerprint
    if same and done.graph.inputs is not None:
        with torch.no_grad():
            found = done.graph.model(**done.graph.inputs), model(**done.graph.inputs)
        same = all(map(torch.equal, *(_tensors(output) for output in found)))
    if not same:
        passes = ", ".join(step["pass"] for step in done.steps)
        raise ConfigError(
            f"the result cannot be saved: its passes ({passes}) give another model when they are repeated; put "
            "quantize behind passes that replace modules, or save the model in Python"
        )


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value.nan_to_num() if value.is_floating_point() else value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]
