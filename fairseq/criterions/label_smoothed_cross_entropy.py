"""`criterion=label_smoothed_cross_entropy`: cross entropy with a share e of each target spread over the vocabulary.

With V classes, the target keeps 1 - e and every other class gets e / (V - 1) (Szegedy et al. 2016, section 7):

    loss = - (1 - e - e / (V - 1)) * log p(target) - e / (V - 1) * sum over all V classes of log p(class)
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.criterions.fairseq_criterion import log_loss, log_perplexity, total
from fairseq.dataclass.criterions import LabelSmoothedCrossEntropyConfig
from fairseq.logging import metrics
from fairseq.quantization.bits import bits_kwargs

LabelSmoothedCrossEntropyCriterionConfig = LabelSmoothedCrossEntropyConfig  # fairseq's name


def label_smoothed_nll_loss(
    lprobs: Tensor, target: Tensor, epsilon: float, ignore_index: Optional[int] = None, reduce: bool = True
) -> tuple[Tensor, Tensor]:
    """Smoothed loss and negative log-likelihood.

    Args:
        lprobs: log probabilities, (..., V).
        target: class ids, (...) or (..., 1).
        epsilon: the share that is spread.
        ignore_index: targets with this id count nothing.
        reduce: sum over all positions; otherwise (..., 1).
    """
    if target.dim() == lprobs.dim() - 1:
        target = target.unsqueeze(-1)
    nll_loss = -lprobs.gather(dim=-1, index=target)
    smooth_loss = -lprobs.sum(dim=-1, keepdim=True)
    if ignore_index is not None:
        ignored = target.eq(ignore_index)
        nll_loss = nll_loss.masked_fill(ignored, 0.0)
        smooth_loss = smooth_loss.masked_fill(ignored, 0.0)
    if reduce:
        nll_loss, smooth_loss = nll_loss.sum(), smooth_loss.sum()
    spread = epsilon / (lprobs.size(-1) - 1)
    return (1.0 - epsilon - spread) * nll_loss + spread * smooth_loss, nll_loss


@register_criterion("label_smoothed_cross_entropy", dataclass=LabelSmoothedCrossEntropyConfig)
class LabelSmoothedCrossEntropyCriterion(FairseqCriterion):
    """Cross entropy with smoothed targets."""

    def __init__(
        self,
        task: Any,
        sentence_avg: bool,
        label_smoothing: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
    ):
        super().__init__(task)
        self.sentence_avg = sentence_avg
        self.eps = label_smoothing
        self.ignore_prefix_size = ignore_prefix_size
        self.report_accuracy = report_accuracy

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        net_output = model(**sample["net_input"], **bits_kwargs(num_bits))
        loss, nll_loss = self.compute_loss(model, net_output, sample, reduce=reduce)
        sample_size, logging_output = self._logged(model, net_output, sample, loss, nll_loss)
        return loss, sample_size, logging_output

    def _logged(
        self, model: Any, net_output: Any, sample: dict[str, Any], loss: Tensor, nll_loss: Tensor
    ) -> tuple[Any, dict[str, Any]]:
        """What the losses are divided by, and what is logged of a batch."""
        num_sentences = sample["target"].size(0)
        sample_size = num_sentences if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.detach(),
            "nll_loss": nll_loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": num_sentences,
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            logging_output["n_correct"], logging_output["total"] = self.compute_accuracy(model, net_output, sample)
        return sample_size, logging_output

    def get_lprobs_and_target(self, model: Any, net_output: Any, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Log probabilities (B*T, V) and targets (B*T), without the first `ignore_prefix_size` positions."""
        lprobs = model.get_normalized_probs(net_output, log_probs=True)
        target = model.get_targets(sample, net_output)
        if self.ignore_prefix_size > 0:
            lprobs, target = lprobs[:, self.ignore_prefix_size :], target[:, self.ignore_prefix_size :]
        return lprobs.reshape(-1, lprobs.size(-1)), target.reshape(-1)

    def compute_loss(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Smoothed loss and negative log-likelihood of the batch."""
        lprobs, target = self.get_lprobs_and_target(model, net_output, sample)
        return label_smoothed_nll_loss(lprobs, target, self.eps, ignore_index=self.padding_idx, reduce=reduce)

    @torch.no_grad()
    def compute_accuracy(self, model: Any, net_output: Any, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Tokens predicted right, and tokens."""
        lprobs, target = self.get_lprobs_and_target(model, net_output, sample)
        mask = target.ne(self.padding_idx)
        return (lprobs.argmax(dim=1).eq(target) & mask).sum(), mask.sum()

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        log_loss("loss", total(logging_outputs, "loss"), total(logging_outputs, "sample_size"))
        log_loss("nll_loss", total(logging_outputs, "nll_loss"), total(logging_outputs, "ntokens"))
        log_perplexity(of="nll_loss")
        num_tokens = total(logging_outputs, "total")
        if num_tokens > 0:
            metrics.log_scalar("total", num_tokens)
            metrics.log_scalar("n_correct", total(logging_outputs, "n_correct"))

            def accuracy(logged: Any) -> float:
                ntotal = logged["total"].sum
                return round(float(logged["n_correct"].sum * 100.0 / ntotal), 3) if ntotal > 0 else float("nan")

            metrics.log_derived("accuracy", accuracy)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
