"""A table of reviews as it may come: quotes, commas, line breaks, empty cells, one class three times the other."""

import csv
import logging
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TINY = """
    model.encoder_layers=1 model.encoder_embed_dim=32 model.encoder_ffn_embed_dim=32 model.encoder_attention_heads=2
    common.cpu=true optimization.lr=[0.01] optimization.max_epoch=12 optimization.max_update=108 dataset.batch_size=16
    model.dropout=0 model.pooler_dropout=0
""".split()  # noqa: SIM905 - a command line


def write_reviews(path: Path, count: int, seed: int = 1) -> list[dict[str, str]]:
    """Write so many reviews as CSV, each with a word that gives its class away; returns them."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        good = number % 4 != 0
        words = draw.choices(["film", "plot,", '"cast"', "and\n", "Ärger"], k=5)
        words.insert(draw.randrange(5), "great" if good else "awful")
        rows.append({"id": str(number), "review": " ".join(words), "verdict": "very good" if good else "bad"})
    rows[0]["review"] = ""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return rows


def commands(monkeypatch: Any, capfd: Any) -> Any:
    """What runs a command in this process: `command("predict", "int8.pt", ...)` -> code, out, err."""

    def run(name: str, *words: Any) -> SimpleNamespace:
        module = __import__(f"fairseq_cli.{name}", fromlist=["cli_main"])
        monkeypatch.setattr(sys, "argv", [f"fairseq-{name}", *map(str, words)])
        capfd.readouterr()
        handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
        stream = logging.StreamHandler(sys.stderr)  # pytest's own handler keeps basicConfig from adding one
        stream.setFormatter(logging.Formatter("%(levelname)s | %(name)s | %(message)s"))
        logging.getLogger().addHandler(stream)
        logging.getLogger().setLevel("INFO")
        code: Any = 0
        try:
            module.cli_main()
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            logging.getLogger().handlers[:] = handlers
            logging.getLogger().setLevel(level)
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run
