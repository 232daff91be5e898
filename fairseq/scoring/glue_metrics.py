"""The measures GLUE is scored by, as fractions: accuracy, F1, Matthews, Pearson and Spearman correlation.

Computed by scikit-learn and SciPy, which are imported when a measure is first used. Where a measure is undefined
because predictions or targets are all the same, its value is 0 and nothing is printed.

>>> matthews([1, 1, 0, 0], [1, 0, 0, 0])
0.5773502691896258
>>> matthews([1, 1, 1], [1, 0, 1])
0.0
"""

from typing import Any

import numpy as np


def accuracy(predictions: Any, targets: Any) -> float:
    """Share of equal entries."""
    return float(np.mean(np.asarray(predictions) == np.asarray(targets)))


def f1(predictions: Any, targets: Any) -> float:
    """F1 of class 1 where classes are 0 and 1; otherwise the mean of all classes' F1."""
    from sklearn.metrics import f1_score

    binary = np.isin(np.union1d(predictions, targets), (0, 1)).all()
    return float(f1_score(targets, predictions, average="binary" if binary else "macro", zero_division=0))


def acc_and_f1(predictions: Any, targets: Any) -> float:
    """Mean of accuracy and F1 (MRPC, QQP)."""
    return (accuracy(predictions, targets) + f1(predictions, targets)) / 2


def matthews(predictions: Any, targets: Any) -> float:
    """Matthews correlation of two or more classes (CoLA)."""
    if _constant(predictions) or _constant(targets):
        return 0.0
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, predictions))


def pearson(predictions: Any, targets: Any) -> float:
    """Linear correlation."""
    if _constant(predictions) or _constant(targets):
        return 0.0
    from scipy.stats import pearsonr

    return float(pearsonr(predictions, targets)[0])


def spearman(predictions: Any, targets: Any) -> float:
    """Correlation of ranks."""
    if _constant(predictions) or _constant(targets):
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(predictions, targets)[0])


def pearson_and_spearman(predictions: Any, targets: Any) -> float:
    """Mean of Pearson and Spearman correlation (STS-B)."""
    return (pearson(predictions, targets) + spearman(predictions, targets)) / 2


def _constant(values: Any) -> bool:
    values = np.asarray(values)
    return values.size < 2 or bool((values == values[0]).all())
