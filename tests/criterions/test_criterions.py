"""What criterions promise beyond fairseq's numbers: aggregation, bad input, building from configs."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import nn

from fairseq.criterions import (
    CRITERION_REGISTRY,
    FairseqCriterion,
    LegacyFairseqCriterion,
    build_criterion,
    register_criterion,
)
from fairseq.data.dictionary import Dictionary
from fairseq.errors import ConfigError, DataError
from fairseq.logging import metrics


class Head(nn.Module):
    """A model whose `<s>` feature is one number; the head is a linear layer on it."""

    def __init__(self, num_classes=2):
        super().__init__()
        self.classification_heads = nn.ModuleDict({"sentence_classification_head": nn.Linear(1, num_classes)})

    def forward(self, x, features_only=False, classification_head_name=None):
        return self.classification_heads[classification_head_name](x), None

    def get_targets(self, sample, net_output):
        return sample["target"]


def task(labels=("0", "1")):
    dictionary = Dictionary()
    for label in labels:
        dictionary.add_symbol(label)
    dictionary.add_symbol("<mask>")
    return SimpleNamespace(label_dictionary=dictionary, source_dictionary=dictionary)


def prediction(labels=("0", "1"), **options):
    cfg = {
        "_name": "sentence_prediction",
        "classification_head_name": "sentence_classification_head",
        "regression_target": False,
        "report_mcc": False,
        "report_acc_and_f1": False,
        "report_pearson_and_spearman": False,
        **options,
    }
    return build_criterion(SimpleNamespace(**cfg), task(labels))


def sample(target, seed=0):
    x = torch.randn(len(target), 1, generator=torch.Generator().manual_seed(seed))
    return {"net_input": {"x": x}, "target": target, "ntokens": 5 * len(target), "nsentences": len(target)}


def evaluate(criterion, model, batches, at_once=False):
    criterion.eval()
    with torch.no_grad():
        outputs = [criterion(model, batch)[2] for batch in batches]
    with metrics.aggregate(new_root=True) as logged:
        for group in [outputs] if at_once else [[output] for output in outputs]:
            type(criterion).reduce_metrics(group)
    return logged.get_smoothed_values()


@pytest.mark.parametrize("at_once", [False, True])
def test_metrics_are_over_all_examples_not_means_of_batches(at_once):
    """Batches of one class each: the mean of their own correlations would be 0."""
    torch.manual_seed(0)
    model = Head()
    batches = [sample(torch.full((n,), n % 2), seed=n) for n in (1, 2, 3, 4, 9)]
    logits = torch.cat(
        [model(**b["net_input"], classification_head_name="sentence_classification_head")[0] for b in batches]
    )
    predicted, target = logits.argmax(1).numpy(), torch.cat([b["target"] for b in batches]).numpy()
    values = evaluate(prediction(report_mcc=True, report_acc_and_f1=True), model, batches, at_once)
    accuracy, f1 = 100 * np.mean(predicted == target), 100 * sklearn.metrics.f1_score(target, predicted)
    assert values["mcc"] == round(100 * sklearn.metrics.matthews_corrcoef(target, predicted), 1)
    assert values["f1"] == round(f1, 1) and values["accuracy"] == round(accuracy, 1)
    assert values["acc_and_f1"] == round((f1 + accuracy) / 2, 1)
    assert not any(key.startswith(("_", "pred", "targ")) for key in values)


def test_classes_are_scored_by_their_labels_not_their_ids():
    """Label ids follow frequency: with `1` the most frequent label, class 0 is the positive one."""
    torch.manual_seed(1)
    model, batches = Head(), [sample(torch.tensor([0, 0, 1, 0, 1, 0, 0]))]
    swapped, straight = (evaluate(prediction(names, report_acc_and_f1=True), model, batches) for names in ("10", "01"))
    assert swapped["f1"] != straight["f1"]
    predicted = model(**batches[0]["net_input"], classification_head_name="sentence_classification_head")[0].argmax(1)
    expected = sklearn.metrics.f1_score(1 - batches[0]["target"].numpy(), 1 - predicted.numpy())
    assert swapped["f1"] == round(100 * expected, 1)


def test_words_as_labels():
    names = ("entailment", "not_entailment")
    assert "mcc" in evaluate(prediction(names, report_mcc=True), Head(), [sample(torch.tensor([0, 1]))])
    with pytest.raises(ConfigError, match=r"integers.*entailment"):
        prediction(names, report_acc_and_f1=True)


def test_outputs_can_be_summed_only_where_they_hold_no_predictions():
    plain, reporting = prediction(), prediction(report_mcc=True)
    assert plain.eval().logging_outputs_can_be_summed()
    assert reporting.train().logging_outputs_can_be_summed() and not reporting.eval().logging_outputs_can_be_summed()
    _, _, output = reporting.train()(Head(), sample(torch.tensor([0, 1])))
    assert "pred" not in output
    _, _, output = plain.eval()(Head(), sample(torch.tensor([0, 1])))
    assert "pred" not in output


def test_summed_outputs_report_the_same_loss():
    model, criterion = Head(), prediction()
    outputs = [criterion(model, sample(torch.tensor([0, 1, 1]), seed=n))[2] for n in range(3)]
    summed = {key: sum(output[key] for output in outputs) for key in outputs[0]}
    logged = []
    for group in (outputs, [summed]):
        with metrics.aggregate(new_root=True) as aggregator:
            criterion.reduce_metrics(group)
        logged.append(aggregator.get_smoothed_values())
    assert logged[0] == logged[1] and set(logged[0]) == {"loss", "nll_loss", "accuracy"}


def test_loss_is_in_bits():
    model = Head()
    nn.init.zeros_(model.classification_heads["sentence_classification_head"].weight)
    nn.init.zeros_(model.classification_heads["sentence_classification_head"].bias)
    assert evaluate(prediction(), model, [sample(torch.tensor([0, 1, 1]))])["loss"] == 1.0  # two equal classes: one bit


@pytest.mark.parametrize("label", [2, 5])
def test_label_out_of_range(label):
    with pytest.raises(DataError, match=rf"label {label} is out of range for 2 classes.*num-classes"):
        prediction()(Head(), sample(torch.tensor([0, label])))


def test_more_classes_than_labels():
    """A class that no label names can be predicted; it was a bare IndexError of the metric."""
    criterion, model = prediction(report_mcc=True).eval(), Head(num_classes=3)
    with torch.no_grad():
        model.classification_heads["sentence_classification_head"].bias[2] = 100.0
    with pytest.raises(DataError, match=r"class 2 has no label in label/dict.txt, which names 2: .*num_classes"):
        criterion(model, sample(torch.tensor([0, 1])))


def test_a_split_without_labels():
    batch = sample(torch.tensor([0]))
    del batch["target"]
    with pytest.raises(DataError, match="no labels"):
        prediction()(Head(), batch)


def test_missing_head_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'sentence_classification_head'"):
        prediction(classification_head_name="sentence_clasification_head")(Head(), sample(torch.tensor([0])))


@pytest.mark.parametrize("report", ["report_mcc", "report_acc_and_f1"])
def test_class_metrics_of_a_regression(report):
    with pytest.raises(ConfigError, match="needs classes"):
        prediction(regression_target=True, **{report: True})


def test_masked_lm_without_a_masked_token_still_has_a_gradient():
    dictionary = Dictionary()
    criterion = build_criterion(
        SimpleNamespace(_name="masked_lm", tpu=False), SimpleNamespace(target_dictionary=dictionary)
    )
    layer = nn.Linear(3, len(dictionary))

    class Model(nn.Module):
        def forward(self, x, masked_tokens):
            return layer(x[masked_tokens]), None

        def get_targets(self, sample, net_output):
            return sample["target"]

    batch = {"net_input": {"x": torch.ones(2, 4, 3)}, "target": torch.full((2, 4), dictionary.pad()), "ntokens": 8}
    loss, sample_size, _ = criterion(Model(), {**batch, "nsentences": 2})
    loss.backward()
    assert loss.item() == 0.0 and int(sample_size) == 0 and layer.weight.grad.abs().sum() == 0


def test_ranking_writes_predictions(tmp_path):
    class Ranker(Head):
        def forward(self, x, classification_head_name=None):
            return x, None

    cfg = {"ranking_head_name": "sentence_classification_head", "save_predictions": str(tmp_path / "out.tsv")}
    criterion = build_criterion(
        SimpleNamespace(_name="sentence_ranking", **cfg), SimpleNamespace(cfg=SimpleNamespace(num_classes=2))
    )
    scores = torch.tensor([[0.0, 1.0], [3.0, 2.0]])
    batch = {f"net_input{i + 1}": {"x": scores[:, i : i + 1]} for i in range(2)}
    batch |= {"id": torch.tensor([7, 8]), "target": torch.tensor([1, 1]), "ntokens": 4, "nsentences": 2}
    _, _, output = criterion.eval()(Ranker(), batch)
    assert output["ncorrect"] == 1 and (tmp_path / "out.tsv").read_text() == "7\t1\t1\n8\t0\t1\n"


@pytest.fixture
def plugin():
    """Registers a criterion for the length of a test."""
    names = []

    def register(cls):
        names.append(f"plugin_of_a_test_{len(names)}")
        register_criterion(names[-1])(cls)
        return names[-1]

    yield register
    for name in names:
        del CRITERION_REGISTRY[name]


def test_constructor_gets_config_fields_by_name(plugin):
    class Named(FairseqCriterion):
        def __init__(self, task, weight, exponent=2, cfg=None):
            super().__init__(task)
            self.seen = (weight, exponent, cfg)

    name = plugin(Named)
    cfg = SimpleNamespace(_name=name, weight=0.5)
    assert build_criterion(cfg, task()).seen == (0.5, 2, cfg)
    with pytest.raises(NotImplementedError, match="no field 'weight'"):
        build_criterion(SimpleNamespace(_name=name), task())


def test_legacy_criterion(plugin):
    class Legacy(LegacyFairseqCriterion):
        @staticmethod
        def aggregate_logging_outputs(logging_outputs):
            return {"loss": sum(output["loss"] for output in logging_outputs), "ntokens": 3}

    args = SimpleNamespace(_name=plugin(Legacy), weight=2)
    criterion = build_criterion(args, task())
    assert criterion.args is args and not criterion.logging_outputs_can_be_summed()
    with metrics.aggregate(new_root=True) as logged:
        criterion.reduce_metrics([{"loss": 1.5}, {"loss": 1.0}])
    assert dict(logged.get_smoothed_values()) == {"loss": 2.5}


def test_label_smoothing_of_a_uniform_model_is_the_entropy():
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    lprobs, target = torch.full((4, 5), -math.log(5)), torch.tensor([0, 1, 2, 1])
    loss, nll = label_smoothed_nll_loss(lprobs, target, epsilon=0.3, ignore_index=1)
    torch.testing.assert_close(loss, torch.tensor(2 * math.log(5)))
    torch.testing.assert_close(nll, torch.tensor(2 * math.log(5)))
    loss, _ = label_smoothed_nll_loss(lprobs, target, epsilon=0.3, reduce=False)
    assert loss.shape == (4, 1)
