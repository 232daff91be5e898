"""A checkpoint of RoBERTa -> one ONNX file, checked before it is renamed to its final name.

    export = export_onnx("checkpoint_best.pt", "model.onnx")
    print(export.summary())

Checked: the file by onnx's own checker; then made-up batches, padded and not, run through our model and through the
file - by onnxruntime, or by onnx's reference evaluator where that is not installed - and the codes of every
activation quantizer and the scores are compared; where a data folder is given, predictions on its examples, too.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import torch
from torch import Tensor

from fairseq.checkpoint.writing import atomic
from fairseq.data.class_names import known_class_names
from fairseq.errors import CheckpointError, ConfigError, unknown
from fairseq.export.comparison import Comparison, compare
from fairseq.export.graph import FULL_OPSET, Graph
from fairseq.export.on_data import OnData, compare_on_data
from fairseq.export.reading import num_classes, read_classifier
from fairseq.export.roberta import Point, build
from fairseq.export.runtime import runner
from fairseq.models.roberta import RobertaModel
from fairseq.native.announce import waiting
from fairseq.output_files import check_output

MAX_FILE_BYTES = 2**31  # bytes: what a protobuf message holds


class Export(NamedTuple):
    """What was written.

    Attributes:
        path: the file.
        num_bytes: its size.
        head: name of the classification head.
        opset: of ONNX.
        comparison: with our evaluation, on made-up batches.
        names: of the classes, in order; None where they are unknown.
        on_data: with our evaluation, on real examples, where there were any.
    """

    path: str
    num_bytes: int
    head: str
    opset: int
    comparison: Comparison
    names: Optional[list[str]] = None
    on_data: Optional[OnData] = None

    def summary(self) -> str:
        """A one-line summary."""
        size = f"{self.num_bytes / 1e6:.1f} MB" if self.num_bytes >= 1e6 else f"{self.num_bytes / 1e3:.0f} kB"
        classes = "" if self.names is None else f" (classes {', '.join(self.names)})"
        real = "; --data DATA compares predictions" if self.on_data is None else f"; {self.on_data.summary()}"
        wrote = f"wrote {self.path}: {size}, head {self.head}{classes}, opset {self.opset}"
        return f"{wrote}; {self.comparison.summary()}{real}"


def export_onnx(
    checkpoint: Union[str, Path],
    out: Union[str, Path],
    head: Optional[str] = None,
    opset: int = FULL_OPSET,
    *,
    overwrite: bool = False,
    data: Optional[Path] = None,
    subset: str = "valid",
    batches: Optional[int] = None,
    batch_size: int = 16,
) -> Export:
    """Write the model in `checkpoint`, quantized as it evaluates, to the file `out`.

    Args:
        head: classification head; the only one if None.
        opset: version of ONNX's operators.
        overwrite: replace `out` if it is there.
        data: compare predictions on this data folder, too: on `batches` (None: all) of its `subset`. Its label
            dictionary names the classes where the checkpoint does not.

    Raises:
        CheckpointError: no RoBERTa, no head, or a model that ONNX would compute differently.
        ConfigError: no such head, an opset that lacks something, a quantizer that cannot be exported (names the rule
            with which it could), a file that is there already, or the package onnx is missing.
    """
    Graph(opset)  # fails early
    out = Path(out)
    check_output(out, overwrite)
    model, labels = read_classifier(str(checkpoint))
    head = chosen_head(model, head, str(checkpoint))
    names = known_class_names(labels, data, num_classes(model, head))
    with waiting("writing the graph and comparing it with the model"):
        file, comparison = serialize(model, head, opset, names)
    found = None
    if data is not None:
        run = runner(file)[1]
        found = compare_on_data(str(checkpoint), model, head, run, data, subset, batches, batch_size)
    try:
        with atomic(str(out)) as stream:
            stream.write(file)
    except OSError as error:
        raise CheckpointError(f"cannot write {out}: {error.strerror or error}") from None
    return Export(str(out), len(file), head, opset, comparison, names, found)


def chosen_head(model: RobertaModel, head: Optional[str], where: str) -> str:
    """The name of the head that is meant by `head`."""
    heads = list(model.classification_heads)
    if not heads:
        raise CheckpointError(f"{where} has no classification head; fine-tune it, or export its weights with export-hf")
    if head is not None and head not in heads:
        raise ConfigError(unknown("classification head", head, heads, where))
    if head is None and len(heads) > 1:
        raise ConfigError(f"{where} has the classification heads {', '.join(heads)}; choose one with --head")
    return head or heads[0]


def serialize(
    model: RobertaModel, head: str, opset: int = FULL_OPSET, names: Optional[list[str]] = None
) -> tuple[bytes, Comparison]:
    """The bytes of an ONNX file that computes `model(tokens, classification_head_name=head)`, and how closely.

    The model is put into evaluation, in fp32 and on the CPU.

    Args:
        names: of the classes, which become the file's metadata `labels`, a JSON list.
    """
    model = model.eval().float().cpu()
    batches = made_up(model)
    with torch.no_grad():
        model(batches[0], classification_head_name=head)  # brings normalised weights up to date
        graph, points = build(model, head, opset)
    file = _file(graph, model, head, names)
    if file.ByteSize() >= MAX_FILE_BYTES:
        raise CheckpointError(
            f"the model takes {file.ByteSize() / 1e9:.1f} GB, an ONNX file holds 2 GB; quantize more of it, "
            "for example with {match: '*.embed_tokens.weight', bits: 8, format: symmetric, granularity: channel}"
        )
    data: bytes = file.SerializeToString()
    graph.onnx.checker.check_model(data, full_check=True)
    return data, compare(model, head, data, points, batches)


def _file(graph: Graph, model: RobertaModel, head: str, names: Optional[list[str]]) -> Any:
    helper, types = graph.onnx.helper, graph.onnx.TensorProto
    classes = num_classes(model, head)
    tokens = helper.make_tensor_value_info("tokens", types.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", types.FLOAT, ["batch", classes])
    versions = [helper.make_opsetid("", graph.opset)]
    body = helper.make_graph(graph.nodes, "roberta", [tokens], [logits], list(graph.constants.values()))
    # the oldest layout that has the operators, for runtimes older than the package
    file = helper.make_model(
        body, opset_imports=versions, ir_version=helper.find_min_ir_version_for(versions), producer_name="fairseq"
    )
    quantization = getattr(model, "quantization", None)
    notes = {"head": head, "padding": str(model.encoder.sentence_encoder.padding_idx)}
    if names is not None:
        notes["labels"] = json.dumps(names, ensure_ascii=False)
    if quantization is not None:
        notes["eval_bits"] = str(quantization.config.eval_bits)
    helper.set_model_props(file, notes)
    return file


def made_up(model: RobertaModel) -> list[Tensor]:
    """Batches of tokens that differ in both sizes, with and without padding."""
    encoder = model.encoder.sentence_encoder
    words, pad = encoder.embed_tokens.num_embeddings, encoder.padding_idx
    generator = torch.Generator().manual_seed(1)
    longest = max(min(16, encoder.max_positions()), 2)
    batches = []
    for rows, columns in ((3, longest), (1, longest // 2)):
        tokens = torch.randint(min(4, words - 1), words, (rows, columns), generator=generator)
        for row in range(1, rows):
            tokens[row, columns - row * columns // 4 :] = pad
        batches.append(tokens)
    return batches


__all__ = ["Export", "Point", "chosen_head", "export_onnx", "made_up", "serialize"]
