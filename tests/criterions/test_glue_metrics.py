"""GLUE's measures equal scikit-learn's and SciPy's, and are defined, quietly, where those are not."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from fairseq.scoring import glue_metrics


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("absent", [None, "prediction", "target"])
@pytest.mark.parametrize("seed", range(3))
def test_classes(num_classes, absent, seed):
    generator = np.random.default_rng(seed)
    predictions, targets = generator.integers(0, num_classes, (2, 50))
    if absent == "prediction":  # the last class is never predicted
        predictions %= num_classes - 1
    if absent == "target":
        targets %= num_classes - 1
    average = "binary" if num_classes == 2 else "macro"
    f1 = sklearn.metrics.f1_score(targets, predictions, average=average, zero_division=0)
    accuracy = sklearn.metrics.accuracy_score(targets, predictions)
    assert glue_metrics.accuracy(predictions, targets) == pytest.approx(accuracy, abs=1e-12)
    assert glue_metrics.f1(predictions, targets) == pytest.approx(f1, abs=1e-12)
    assert glue_metrics.acc_and_f1(predictions, targets) == pytest.approx((accuracy + f1) / 2, abs=1e-12)
    mcc = sklearn.metrics.matthews_corrcoef(targets, predictions)
    assert glue_metrics.matthews(predictions, targets) == pytest.approx(mcc, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_correlations(ties):
    predictions, targets = np.random.default_rng(0).normal(size=(2, 40))
    if ties:
        predictions, targets = predictions.round(), targets.round()
    pearson, spearman = scipy.stats.pearsonr(predictions, targets)[0], scipy.stats.spearmanr(predictions, targets)[0]
    assert glue_metrics.pearson(predictions, targets) == pytest.approx(pearson, abs=1e-12)
    assert glue_metrics.spearman(predictions, targets) == pytest.approx(spearman, abs=1e-12)
    both = glue_metrics.pearson_and_spearman(predictions, targets)
    assert both == pytest.approx((pearson + spearman) / 2, abs=1e-12)


@pytest.mark.parametrize("metric", ["matthews", "pearson", "spearman", "pearson_and_spearman", "f1"])
@pytest.mark.parametrize("predictions, targets", [([0, 0, 0], [0, 1, 0]), ([0, 1, 0], [0, 0, 0]), ([0], [0])])
def test_constant_input_is_zero_and_silent(metric, predictions, targets):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(glue_metrics, metric)(np.array(predictions), np.array(targets)) == 0.0


def test_libraries_are_imported_only_when_used():
    code = (
        "import sys, fairseq.scoring.glue_metrics as g; "
        "assert g.accuracy([1, 0], [1, 1]) == 0.5; "
        "assert not {'sklearn', 'scipy', 'torch'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
