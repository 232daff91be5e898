"""Write a table of 16 features and 5 classes, for which the best possible accuracy is known.

    python examples/tabular/make_table.py jets.csv --rows 20000 --seed 1

Each class is a mixture of two normal distributions with unit variance, whose means are drawn at random. Bayes' rule,
which knows them, makes the fewest errors that any classifier can make; its accuracy on the rows is printed.
"""

import argparse
from pathlib import Path

import numpy as np

FEATURES, CLASSES, PARTS = 16, 5, 2
SPREAD = 0.9  # standard deviation of the means


def make_table(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Features (rows, 16), classes (rows) and the accuracy of Bayes' rule."""
    rng = np.random.default_rng(seed)
    means = SPREAD * rng.standard_normal((CLASSES, PARTS, FEATURES))
    labels, parts = rng.integers(CLASSES, size=rows), rng.integers(PARTS, size=rows)
    features = np.round(means[labels, parts] + rng.standard_normal((rows, FEATURES)), 4)
    distances = ((features[:, None, None] - means) ** 2).sum(-1)  # (rows, classes, parts)
    likelihood = np.exp(-0.5 * (distances - distances.min(axis=(1, 2), keepdims=True))).sum(-1)
    return features, labels, float((likelihood.argmax(1) == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="file to write")
    parser.add_argument("--rows", type=int, default=20000, help="default: 20000")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    args = parser.parse_args()
    if args.rows < 1 or args.seed < 0:
        parser.error("--rows must be 1 or more, --seed 0 or more")
    features, labels, accuracy = make_table(args.rows, args.seed)
    lines = [",".join([*(f"x{index}" for index in range(FEATURES)), "class"])]
    lines += [
        ",".join([*(f"{value:g}" for value in row), str(label)]) for row, label in zip(features, labels, strict=True)
    ]
    try:
        args.path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        parser.error(f"cannot write {args.path}: {error.strerror}")
    print(f"{args.path}: {args.rows} rows; best possible accuracy {100 * accuracy:.1f} %")


if __name__ == "__main__":
    main()
