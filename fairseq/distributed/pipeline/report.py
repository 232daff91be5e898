"""What crossed the boundaries of a pipeline: bytes of tensors and of messages, time for encoding and decoding.

Every process counts what it sends and receives; the first one writes the sums over copies of the pipeline.

>>> rows = merge([{(0, "forward"): [800, 100, 2, 0.5, 0.0]}, {(1, "forward"): [0, 0, 0, 0.0, 0.25]}])
>>> print(table(rows))
boundary direction     messages    tensors, MB   sent, MB   ratio   encode, s   decode, s
0 -> 1   forward              2            0.0        0.0    8.00        0.50        0.25
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from fairseq.distributed.collectives import all_gather_list
from fairseq.distributed.pipeline.engine import Pipeline

FILE = "pipeline_report.json"
Counts = dict[tuple[int, str], list[Any]]  # by stage and direction: the fields of `Traffic` that `counts` takes


def counts(pipeline: Pipeline) -> Counts:
    """This process's: bytes of tensors, bytes sent, messages, seconds of encoding and of decoding."""
    return {
        key: [each.logical, each.sent, each.messages, each.encoding, each.decoding]
        for key, each in pipeline.traffic.items()
    }


def merge(parts: Sequence[Counts]) -> list[dict[str, Any]]:
    """Rows by boundary and direction, of what all processes have counted; boundaries within a process have none."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for part in parts:
        for (stage, direction), (logical, sent, messages, encoding, decoding) in part.items():
            behind = stage if direction == "forward" else stage - 1
            ahead = stage - 1 if direction == "forward" else stage
            for boundary, added in (
                (behind, {"tensor_bytes": logical, "sent_bytes": sent, "messages": messages, "encode_s": encoding}),
                (ahead, {"decode_s": decoding}),
            ):
                row = rows.setdefault((boundary, direction), dict.fromkeys(_FIELDS, 0))
                for key, value in added.items():
                    row[key] += value
    return [
        {"boundary": boundary, "direction": direction, **row}
        for (boundary, direction), row in sorted(rows.items()) if row["messages"]
    ]  # fmt: skip


_FIELDS = ("messages", "tensor_bytes", "sent_bytes", "encode_s", "decode_s")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as lines."""
    head = "boundary direction     messages    tensors, MB   sent, MB   ratio   encode, s   decode, s"
    return "\n".join([head, *(
        f"{row['boundary']} -> {row['boundary'] + 1:<3} {row['direction']:<10}{row['messages']:>12}"
        f"{row['tensor_bytes'] / 1e6:>15.1f}{row['sent_bytes'] / 1e6:>11.1f}"
        f"{row['tensor_bytes'] / max(1, row['sent_bytes']):>8.2f}{row['encode_s']:>12.2f}{row['decode_s']:>12.2f}"
        for row in rows
    )])  # fmt: skip


def report(pipeline: Pipeline, folder: str) -> tuple[str, str]:
    """The table, in every process, and the JSON file that the first one has written; a collective."""
    rows = merge(all_gather_list(counts(pipeline)))
    path = os.path.join(folder, FILE)
    if pipeline.replica == 0 and pipeline.place == 0:
        os.makedirs(folder, exist_ok=True)
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            json.dump({"codecs": _codecs(pipeline), "boundaries": rows}, file, indent=2)
        os.replace(path + ".tmp", path)
    return table(rows), path


def _codecs(pipeline: Pipeline) -> dict[str, str]:
    settings = pipeline.settings
    each = {"forward": settings.forward, "backward": settings.backward}
    return {direction: "raw" if codec is None else codec.spec for direction, codec in each.items()}
