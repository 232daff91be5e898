"""The runs of minilm.sh with `transformers`: same data, batches of the same size, optimizer and schedule.

    python examples/roberta/minilm_transformers.py RTE HF_DIR GLUE_DIR --epochs 3 --seeds 1 2 3

Needs torch, transformers, scikit-learn and scipy, not fairseq. What differs is what transformers does differently: the
second sentence of a pair has token type 1, and the head starts from the model's own pooler. Prints a JSON line per
seed: the measure on the development set after the last epoch.
"""

import argparse
import csv
import json
import math
from pathlib import Path

import torch

# columns of the sentences and of the label; CoLA's files have no header
COLUMNS = {"SST-2": ((0,), 1), "STS-B": ((7, 8), 9), "RTE": ((1, 2), 3), "CoLA": ((3,), 1)}
CLASSES = {"entailment": 0, "not_entailment": 1, "0": 0, "1": 1}


def read(task: str, path: Path) -> tuple[list[tuple[str, ...]], list[float]]:
    """Sentences and labels; scores of STS-B are divided by 5."""
    texts, label = COLUMNS[task]
    with path.open(encoding="utf-8", newline="\n") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[0 if task == "CoLA" else 1 :]
    labels = [float(row[label]) / 5 if task == "STS-B" else CLASSES[row[label]] for row in rows]
    return [tuple(row[column] for column in texts) for row in rows], labels


def measure(task: str, scores: torch.Tensor, labels: list[float]) -> dict[str, float]:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import matthews_corrcoef

    if task == "STS-B":
        values = scores[:, 0].numpy()
        return {"pearson": pearsonr(values, labels)[0], "spearman": spearmanr(values, labels)[0]}
    guesses = scores.argmax(1)
    if task == "CoLA":
        return {"mcc": matthews_corrcoef(labels, guesses)}
    return {"accuracy": 100 * (guesses == torch.tensor(labels)).float().mean().item()}


def run(args: argparse.Namespace, seed: int) -> dict[str, float]:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        get_polynomial_decay_schedule_with_warmup,
        set_seed,
    )

    set_seed(seed)
    regression = args.task == "STS-B"
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    # as in RoBERTa's recipe, no dropout on the pooled feature
    options = {"num_labels": 1 if regression else 2, "classifier_dropout": 0.0, "dtype": torch.float32}
    model = AutoModelForSequenceClassification.from_pretrained(args.model, **options)
    train, labels = read(args.task, args.glue / args.task / "train.tsv")
    if args.first:
        train, labels = train[: args.first], labels[: args.first]
    if args.sorted:
        by_length = sorted(range(len(train)), key=lambda row: sum(map(len, train[row])))
        train, labels = [train[row] for row in by_length], [labels[row] for row in by_length]
    valid, valid_labels = read(args.task, args.glue / args.task / "dev.tsv")

    optimizer = torch.optim.AdamW(model.parameters(), args.lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)
    updates = args.epochs * math.ceil(len(train) / args.batch)
    schedule = get_polynomial_decay_schedule_with_warmup(optimizer, updates * 6 // 100, updates, lr_end=0.0)

    def batch_of(examples: list[tuple[str, ...]]) -> dict[str, torch.Tensor]:
        return tokenizer(*map(list, zip(*examples, strict=True)), padding=True, truncation=True, return_tensors="pt")

    model.train()
    for _ in range(args.epochs):
        order = list(range(len(train))) if args.sorted else torch.randperm(len(train)).tolist()
        batches = [order[start : start + args.batch] for start in range(0, len(order), args.batch)]
        for batch in torch.randperm(len(batches)).tolist() if args.sorted else range(len(batches)):
            rows = batches[batch]
            target = torch.tensor([labels[row] for row in rows])
            model(**batch_of([train[row] for row in rows]), labels=target).loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    model.eval()
    with torch.no_grad():
        parts = [model(**batch_of(valid[start : start + 64])).logits for start in range(0, len(valid), 64)]
    return measure(args.task, torch.cat(parts), valid_labels)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a Hugging Face encoder on a GLUE task with transformers.")
    parser.add_argument("task", choices=COLUMNS)
    parser.add_argument("model", type=Path, metavar="HF_DIR")
    parser.add_argument("glue", type=Path, metavar="GLUE_DIR")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=32, help="sentences per update")
    parser.add_argument("--first", type=int, metavar="N", help="use only so many of the first training examples")
    parser.add_argument("--sorted", action="store_true", help="batches of neighbours in order of length")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    args = parser.parse_args()
    for seed in args.seeds:
        values = {name: round(float(value), 4) for name, value in run(args, seed).items()}
        print(json.dumps({"task": args.task, "seed": seed, **values}), flush=True)


if __name__ == "__main__":
    main()
