"""`criterion=sentence_prediction`: cross entropy of the class of a sentence (pair), or squared error of its number.

    classes      loss = - sum of log softmax(logits)[target]
    regression   loss = sum of (logit - target)^2

The sample size is the number of examples. In addition to loss and accuracy, evaluation reports what GLUE scores by, in
percent and over all examples of a subset: `report_mcc`, `report_acc_and_f1`, `report_pearson_and_spearman`.
"""

from collections.abc import Callable
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.criterions.fairseq_criterion import log_classification
from fairseq.data.class_names import label_names
from fairseq.dataclass.criterions import SentencePredictionCriterionConfig
from fairseq.errors import ConfigError, DataError, unknown
from fairseq.logging import metrics
from fairseq.quantization.bits import bits_kwargs
from fairseq.scoring import glue_metrics

# option -> what it reports: name and function of (predictions, targets)
REPORTS: dict[str, dict[str, Callable[[Any, Any], float]]] = {
    "report_mcc": {"mcc": glue_metrics.matthews},
    "report_acc_and_f1": {"acc_and_f1": glue_metrics.acc_and_f1, "f1": glue_metrics.f1},
    "report_pearson_and_spearman": {
        "pearson_and_spearman": glue_metrics.pearson_and_spearman,
        "pearson": glue_metrics.pearson,
        "spearman": glue_metrics.spearman,
    },
}

SentencePredictionConfig = SentencePredictionCriterionConfig  # fairseq's name


@register_criterion("sentence_prediction", dataclass=SentencePredictionCriterionConfig)
class SentencePredictionCriterion(FairseqCriterion):
    """Loss and metrics of sentence classification and regression."""

    def __init__(self, cfg: Any, task: Any):
        super().__init__(task)
        self.classification_head_name: str = cfg.classification_head_name
        self.regression_target: bool = cfg.regression_target
        self.reports = [option for option in REPORTS if getattr(cfg, option)]
        if self.regression_target and "report_acc_and_f1" in self.reports:
            raise ConfigError("criterion.report_acc_and_f1 needs classes; a regression has report_pearson_and_spearman")
        if self.regression_target and "report_mcc" in self.reports:
            raise ConfigError("criterion.report_mcc needs classes; a regression has report_pearson_and_spearman")
        self.label_values = None if self.regression_target or not self.reports else label_values(task, self.reports)

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        if "target" not in sample:
            raise DataError("these examples have no labels: the split has no label file, so there is nothing to score")
        check_head(model, self.classification_head_name, "criterion.classification_head_name")
        logits, _ = model(
            **sample["net_input"],
            features_only=True,
            classification_head_name=self.classification_head_name,
            **bits_kwargs(num_bits),
        )
        targets = model.get_targets(sample, [logits]).view(-1)  # type: ignore[operator]
        sample_size = targets.numel()
        logging_output: dict[str, Any] = {
            "ntokens": sample["ntokens"],
            "nsentences": sample_size,
            "sample_size": sample_size,
        }
        if self.regression_target:
            predictions, targets = logits.view(-1).float(), targets.float()
            loss = F.mse_loss(predictions, targets, reduction="sum")
        else:
            loss = classification_loss(logits, targets)
            predictions = logits.detach().argmax(dim=1)
            logging_output["ncorrect"] = (predictions == targets).sum()
        logging_output["loss"] = loss.detach()
        if self.reports and not self.training:
            logging_output["pred"], logging_output["targ"] = self._values(predictions), self._values(targets)
            logging_output.update(dict.fromkeys(self.reports, True))
        return loss, sample_size, logging_output

    def _values(self, labels: Tensor) -> Tensor:
        """Class ids as the numbers they name, on the CPU."""
        labels = labels.detach().cpu()
        if self.label_values is None:
            return labels
        largest = int(labels.max()) if labels.numel() else 0
        if largest >= len(self.label_values):
            raise DataError(
                f"class {largest} has no label in label/dict.txt, which names {len(self.label_values)}: it does not "
                "fit task.num_classes (--num-classes)"
            )
        return self.label_values[labels]

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        log_classification(logging_outputs)
        if logging_outputs and "pred" in logging_outputs[0]:
            for key in ("pred", "targ"):
                # the underscore keeps the raw values out of log lines
                metrics.log_concat_tensor(f"_{key}", torch.cat([output[key] for output in logging_outputs]))
            for option in REPORTS:
                if logging_outputs[0].get(option):
                    for name, metric in REPORTS[option].items():
                        metrics.log_derived(name, percent(metric))

    def logging_outputs_can_be_summed(self) -> bool:  # type: ignore[override]
        """Not where predictions travel in the outputs."""
        return self.training or not self.reports


def check_head(model: nn.Module, name: str, key: str) -> None:
    """Raise ConfigError unless `model` has the classification head `name`, the value of config key `key`."""
    heads: Any = getattr(model, "classification_heads", ())
    if name not in heads:
        raise ConfigError(f"{unknown('classification head', name, heads)} ({key})")


def classification_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed negative log-likelihood; logits (B, num_classes), targets (B)."""
    try:
        return F.nll_loss(F.log_softmax(logits, dim=-1, dtype=torch.float32), targets, reduction="sum")
    except IndexError:
        raise DataError(
            f"label {int(targets.max())} is out of range for {logits.size(-1)} classes; the label dictionary does not "
            "fit task.num_classes (--num-classes)"
        ) from None


def label_values(task: Any, reports: list[str]) -> Optional[Tensor]:
    """Class id -> the integer that its label spells; class ids themselves where labels are words and any numbering
    will do.

    Ids follow the frequency of labels in the training data, so they do not show which class is F1's positive one.
    """
    dictionary = getattr(task, "label_dictionary", None)
    if dictionary is None:
        return None
    names = label_names(dictionary)
    try:
        return torch.tensor([int(name) for name in names])
    except ValueError:
        if reports != ["report_mcc"]:
            raise ConfigError(
                f"criterion.{reports[-1]} needs labels that are integers (F1: 1 is the positive class), found {names}"
            ) from None
        return torch.arange(len(names))


def percent(metric: Callable[[Any, Any], float]) -> Callable[[Any], float]:
    """A derived value of the log: `metric` over all predictions so far, x100, one digit."""

    def derived(logged: Any) -> float:
        predictions, targets = logged["_pred"].tensor, logged["_targ"].tensor
        if predictions is None:
            return float("nan")
        return round(100.0 * metric(predictions.numpy(), targets.numpy()), 1)

    return derived


def simple_accuracy(preds: Any, labels: Any) -> float:
    """Share of equal entries."""
    return glue_metrics.accuracy(preds, labels)


def acc_and_f1(preds: Any, labels: Any) -> dict[str, float]:
    """Accuracy, F1 and their mean."""
    return {
        "acc": glue_metrics.accuracy(preds, labels),
        "f1": glue_metrics.f1(preds, labels),
        "acc_and_f1": glue_metrics.acc_and_f1(preds, labels),
    }


def pearson_and_spearman(preds: Any, labels: Any) -> dict[str, float]:
    """Both correlations and their mean."""
    return {
        "pearson": glue_metrics.pearson(preds, labels),
        "spearmanr": glue_metrics.spearman(preds, labels),
        "corr": glue_metrics.pearson_and_spearman(preds, labels),
    }


def matthews_corrcoef(preds: Any, labels: Any) -> float:
    return glue_metrics.matthews(preds, labels)
