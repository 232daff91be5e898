"""Configs of criterions (losses).

>>> SentencePredictionCriterionConfig().classification_head_name
'sentence_classification_head'
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import II, FairseqDataclass, option
from fairseq.dataclass.constants import DDP_BACKEND_CHOICES
from fairseq.dataclass.ranges import at_least, between


@dataclass
class CrossEntropyConfig(FairseqDataclass):
    """`criterion=cross_entropy`: negative log-likelihood of the target tokens."""

    sentence_avg: bool = option(II("optimization.sentence_avg"), "follows optimization.sentence_avg")


@dataclass
class AdaptiveLossConfig(FairseqDataclass):
    """`criterion=adaptive_loss`: negative log-likelihood of the target tokens under an adaptive softmax."""

    sentence_avg: bool = option(II("optimization.sentence_avg"), "follows optimization.sentence_avg")
    ddp_backend: DDP_BACKEND_CHOICES = option(
        II("distributed_training.ddp_backend"), "follows distributed_training.ddp_backend"
    )


@dataclass
class MaskedLmCriterionConfig(FairseqDataclass):
    """`criterion=masked_lm`: negative log-likelihood of the masked tokens."""

    tpu: bool = option(II("common.tpu"), "follows common.tpu")


@dataclass
class SentencePredictionCriterionConfig(FairseqDataclass):
    """`criterion=sentence_prediction`: cross entropy of the class, or squared error of the number."""

    classification_head_name: str = option("sentence_classification_head", "name of the head that predicts")
    regression_target: bool = option(False, "labels are numbers, the loss is the squared error")
    report_mcc: bool = option(False, "report Matthews correlation as mcc (CoLA)")
    report_acc_and_f1: bool = option(False, "report f1 and its mean with accuracy, acc_and_f1 (MRPC, QQP)")
    report_pearson_and_spearman: bool = option(
        False, "report pearson, spearman and their mean, pearson_and_spearman (STS-B)"
    )


@dataclass
class LabelSmoothedCrossEntropyConfig(FairseqDataclass):
    """`criterion=label_smoothed_cross_entropy`: cross entropy with targets mixed with the uniform distribution."""

    label_smoothing: float = option(
        0.0, "share of the uniform distribution; 0 is plain cross entropy", within=between(0, 1)
    )
    report_accuracy: bool = option(False, "report the share of tokens predicted right as accuracy")
    ignore_prefix_size: int = option(0, "leave this many first target tokens out of the loss", within=at_least(0))
    sentence_avg: bool = option(II("optimization.sentence_avg"), "follows optimization.sentence_avg")


@dataclass
class LabelSmoothedCrossEntropyWithAlignmentConfig(LabelSmoothedCrossEntropyConfig):
    """`criterion=label_smoothed_cross_entropy_with_alignment`: smoothed, and attention follows given alignments."""

    alignment_lambda: float = option(0.05, "weight of the alignments' loss", within=at_least(0))


@dataclass
class RdropLabelSmoothedCrossEntropyConfig(LabelSmoothedCrossEntropyConfig):
    """`criterion=label_smoothed_cross_entropy_with_rdrop`: smoothed, and two passes with dropout predict alike."""

    rdrop_alpha: float = option(0.0, "weight of what two passes differ by; 0 makes one pass", within=at_least(0))


@dataclass
class LabelSmoothedDualImitationConfig(FairseqDataclass):
    """`criterion=nat_loss`: the sum of the losses that a refining model reports."""

    label_smoothing: float = option(
        0.0, "share of the uniform distribution in the words' targets; 0 is plain cross entropy", within=between(0, 1)
    )


@dataclass
class SentenceRankingCriterionConfig(FairseqDataclass):
    """`criterion=sentence_ranking`: cross entropy over candidates that a head with one output scores."""

    ranking_head_name: str = option("sentence_classification_head", "name of the head that scores")
    save_predictions: Optional[str] = option(None, "write the predictions of validation to this file")
