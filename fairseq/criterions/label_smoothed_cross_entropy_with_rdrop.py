"""`criterion=label_smoothed_cross_entropy_with_rdrop`: the model sees each batch twice, with different dropout, and
learns to predict alike (R-Drop, Liang et al., arXiv:2106.14448).

    loss = smoothed loss of both passes + alpha * (KL(p || q) + KL(q || p)) / 2
"""

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.criterions import register_criterion
from fairseq.criterions.fairseq_criterion import LOG_2, total
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.dataclass.criterions import RdropLabelSmoothedCrossEntropyConfig
from fairseq.logging import metrics
from fairseq.quantization.bits import bits_kwargs

RdropLabelSmoothedCrossEntropyCriterionConfig = RdropLabelSmoothedCrossEntropyConfig  # fairseq's name


@register_criterion("label_smoothed_cross_entropy_with_rdrop", dataclass=RdropLabelSmoothedCrossEntropyConfig)
class RdropLabelSmoothedCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """Smoothed cross entropy of two passes, and what they differ by; validation makes two passes as well."""

    def __init__(
        self,
        task: Any,
        sentence_avg: bool,
        label_smoothing: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
        rdrop_alpha: float = 0.0,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.rdrop_alpha = rdrop_alpha

    def forward(  # type: ignore[override]  # with what a caller has computed already, as in fairseq
        self,
        model: nn.Module,
        sample: dict[str, Any],
        reduce: bool = True,
        net_output: Any = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Loss of a batch; `net_output` is that of both passes where a caller has it.

        `sample_size` and `ntokens` are those of one pass, while the losses are sums of both, as in fairseq.
        """
        twice = self.rdrop_alpha > 0
        if net_output is None:
            if twice and sample["net_input"]["src_tokens"].size(0) == sample["target"].size(0):
                sample = duplicate_input(sample)
            net_output = model(**sample["net_input"], **bits_kwargs(num_bits))
        loss, nll_loss = self.compute_loss(model, net_output, sample, reduce=reduce)
        sample_size, logging_output = self._logged(model, net_output, sample, loss, nll_loss)
        if twice:
            padding = sample["target"][:, self.ignore_prefix_size :].eq(self.padding_idx).reshape(-1, 1)
            apart = compute_kl_loss(self._without_prefix(model), net_output, padding)
            loss = loss + self.rdrop_alpha * apart
            logging_output["loss"] = loss.detach()
            logging_output["rdrop_kl_loss"] = apart.detach()
        return loss, sample_size, logging_output

    def get_lprobs_and_target(self, model: Any, net_output: Any, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Log probabilities of both passes, (2 * B * T, V), and their targets."""
        lprobs = model.get_normalized_probs(net_output, log_probs=True)
        target = model.get_targets(sample, net_output)
        if self.rdrop_alpha > 0:
            target = torch.cat([target, target])
        if self.ignore_prefix_size > 0:
            lprobs, target = lprobs[:, self.ignore_prefix_size :], target[:, self.ignore_prefix_size :]
        return lprobs.reshape(-1, lprobs.size(-1)), target.reshape(-1)

    def _without_prefix(self, model: Any) -> Any:
        return _Cut(model, self.ignore_prefix_size) if self.ignore_prefix_size > 0 else model

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        super().reduce_metrics(logging_outputs)
        apart = total(logging_outputs, "rdrop_kl_loss")
        if apart > 0:
            metrics.log_scalar("rdrop_kl_loss", apart / total(logging_outputs, "sample_size") / LOG_2)


class _Cut:
    """A model whose probabilities lack the first positions."""

    def __init__(self, model: Any, size: int):
        self.model, self.size = model, size

    def get_normalized_probs(self, net_output: Any, log_probs: bool) -> Tensor:
        return self.model.get_normalized_probs(net_output, log_probs=log_probs)[:, self.size :]


def duplicate_input(sample: dict[str, Any]) -> dict[str, Any]:
    """A batch whose inputs are there twice; the batch that is given stays as it is."""
    net_input = {
        key: torch.cat([value, value]) if torch.is_tensor(value) else value
        for key, value in sample["net_input"].items()
    }
    return {**sample, "net_input": net_input}


def compute_kl_loss(model: Any, net_output: Any, pad_mask: Optional[Tensor] = None, reduce: bool = True) -> Tensor:
    """What the first and the second half of an output differ by, in nats.

    Args:
        pad_mask: (N, 1), true where one half's N positions are padding.
        reduce: one number; otherwise (N, V).
    """
    lprobs = model.get_normalized_probs(net_output, log_probs=True)
    first, second = lprobs.reshape(-1, lprobs.size(-1)).chunk(2)
    to_second = F.kl_div(first, second, log_target=True, reduction="none")
    to_first = F.kl_div(second, first, log_target=True, reduction="none")
    if pad_mask is not None:
        to_second, to_first = to_second.masked_fill(pad_mask, 0.0), to_first.masked_fill(pad_mask, 0.0)
    if reduce:
        to_second, to_first = to_second.sum(), to_first.sum()
    return (to_second + to_first) / 2
