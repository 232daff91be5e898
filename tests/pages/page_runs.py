"""Folders of made-up runs, with the files that a real one writes, in no time."""

import json
import math
from pathlib import Path

HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'
PARTS = ("k_proj", "q_proj", "fc1")


def make_run(
    folder: Path, quantized: bool = True, updates: int = 100, state: str = "done", text: str = "plain"
) -> Path:
    """A run; `text` is put wherever a run's own text goes."""
    folder.mkdir(parents=True)
    bits = [4 + step % 5 for step in range(10)]
    records = []
    for step in range(10, updates + 1, 10):
        stats = {"loss": round(math.exp(-step / 50), 4), "accuracy": 50 + step / 4, "lr": 0.001 * step, "gnorm": 1.5}
        if quantized:
            records.append({"tag": "bits", "epoch": None, "num_updates": step, "num_bits": bits[step // 10 % 10]})
            stats["bitops"] = 1e12 * step
        records.append({"tag": "train_inner", "epoch": 1, "num_updates": step, **stats})
        if step % 20 == 0:
            valid = {"loss": stats["loss"] + 0.1, "accuracy": stats["accuracy"] - 1, "best_accuracy": 70.0}
            records.append({"tag": "valid", "epoch": 1, "num_updates": step, **valid})
    train = {"loss": 0.5, "train_wall": 5.0 if quantized else 2.5, "wall": 9.0}
    records.append({"tag": "train", "epoch": 1, "num_updates": updates, **train})
    if state == "done":
        records.append({"tag": "done", "epoch": None, "num_updates": updates})
    write_lines(folder / "history.jsonl", records)
    preset = "cpt_4_8" if quantized else "none"
    config = {
        "common": {"seed": 1, "user_dir": text},
        "optimizer": {"_name": "adam", "lr": [0.001]},
        "quantization": {"preset": preset},
    }
    changed = [
        {"place": "common", "key": "user_dir", "value": text, "usual": None},
        {"place": "quantization", "key": "preset", "value": preset, "usual": "none"},
    ]
    record = {
        "version": 1, "state": state, "starts": 1, "started": "2026-11-30T20:00:00+00:00", "command": f"train {text}",
        "config": config, "changed": changed, "seconds": 9.5 if quantized else 4.2, "num_updates": updates,
        "process": {"host": "elsewhere", "pid": 1}, "versions": {"fairseq": "1", "torch": text}, "machine": text,
        "parameters": {"total": 471939, "trained": 471939}, "peak_memory": {"cpu": 340 << 20},
        "best": {"metric": "accuracy", "value": 70.0},
        "bitops": {"quantized": 7e13, "full": 1e13, "quantizing": 2e13, "static": 1e14} if quantized else None,
    }  # fmt: skip
    if state == "failed":
        record["error"] = f"TrainingError: {text}"
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "train.log").write_text("".join(f"line {number} {text}\n" for number in range(60)))
    (folder / "checkpoint_last.pt").write_bytes(b"x" * 5000)
    if quantized:
        plan = {"version": 2, "config": {"rules": []}, "plan": list(plan_rows(text))}
        (folder / "quantization_plan.json").write_text(json.dumps(plan))
        write_lines(folder / "point_errors.jsonl", error_records(updates, text))
    return folder


def plan_rows(text):
    yield {"quantizer": "encoder.embed_tokens.weight", "role": "weight", "bits": None}
    for layer in range(2):
        for part in PARTS:
            path = f"encoder.layers.{layer}.{part}"
            same = {"format": "affine", "granularity": "tensor", "range": text, "rounding": "nearest"}
            yield {"quantizer": f"{path}.weight", "role": "weight", "bits": [4, 8], "follows": True, **same}
            yield {"quantizer": f"{path}.input", "role": "activation", "bits": 3, "follows": False, **same}


def error_records(updates, text):
    for step in range(20, updates + 1, 20):
        for layer in range(2):
            for part in PARTS:
                for role, name in (("weight", "weight"), ("activation", "input")):
                    path = f"encoder.layers.{layer}.{part}.{name}"
                    sqnr = 30.0 + layer + step / 100 + (5 if role == "weight" else 0)
                    errors = {"sqnr": sqnr, "clipped": layer * 0.25, "bits": "8"}
                    yield {"tag": role, "epoch": None, "num_updates": step, "quantizer": path, **errors}


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def make_study(folder: Path, text: str = "plain") -> Path:
    """A study of two tasks, three rows and two seeds: one cell failed, one waits; `text` is its title and an error."""
    from fairseq.studies.study_folder import FAILED, FINISHED, WAITING, Cell, Step

    names = []
    for number, (task, row, seed) in enumerate(
        (task, row, seed) for task in ("rte", "cola") for row in ("fp32", "int8", "cpt") for seed in (1, 2)
    ):
        name = f"{row}-{task}-seed{seed}"
        names.append(name)
        cell = Cell(name, row, seed, {"task": task}, "accuracy", folder=folder / "cells" / name)
        cell.steps = [Step("train", "fairseq-hydra-train", [f"task.data={task}", f"common.seed={seed}"])]
        if number == 11:
            cell.status = WAITING
        else:
            updates = 60 if number == 10 else 100
            make_run(cell.folder, row != "fp32", updates, state="failed" if number == 10 else "done", text=text)
            cell.status = FAILED if number == 10 else FINISHED
            cell.metrics = {"accuracy": 70.0 + number + seed, "loss": 0.5, "wps": 100.0} if number != 10 else {}
            cell.num_updates, cell.seconds, cell.peak_memory = updates, 10.0 + number, 300 << 20
            cell.relative_bitops = {"fp32": 1.0, "int8": 0.12, "cpt": 0.07}[row]
            cell.last_line = f"error: {text}" if number == 10 else ""
        cell.write()
    config = {"command": "fairseq-hydra-train", "title": text, "control": "fp32", "cells": names}
    (folder / "study.yaml").write_text(json.dumps(config))
    return folder
