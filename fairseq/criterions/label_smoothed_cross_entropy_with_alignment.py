"""`criterion=label_smoothed_cross_entropy_with_alignment`: smoothed cross entropy, and attention that follows word
alignments that are given (Garg et al., arXiv:1909.02074, equation 5).

    loss = smoothed + lambda * sum over aligned pairs (t, s) of  - weight(t) log attn[t, s]
"""

from typing import Any, Optional

from torch import Tensor, nn

from fairseq.criterions import register_criterion
from fairseq.criterions.fairseq_criterion import log_loss, log_perplexity, total
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.dataclass.criterions import LabelSmoothedCrossEntropyWithAlignmentConfig
from fairseq.quantization.bits import bits_kwargs

LabelSmoothedCrossEntropyCriterionWithAlignmentConfig = LabelSmoothedCrossEntropyWithAlignmentConfig  # fairseq's name


@register_criterion(
    "label_smoothed_cross_entropy_with_alignment", dataclass=LabelSmoothedCrossEntropyWithAlignmentConfig
)
class LabelSmoothedCrossEntropyCriterionWithAlignment(LabelSmoothedCrossEntropyCriterion):
    """Smoothed cross entropy, and the alignments' loss where a batch has alignments."""

    def __init__(
        self,
        task: Any,
        sentence_avg: bool,
        label_smoothing: float,
        alignment_lambda: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.alignment_lambda = alignment_lambda

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        net_output = model(**sample["net_input"], **bits_kwargs(num_bits))
        loss, nll_loss = self.compute_loss(model, net_output, sample, reduce=reduce)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.detach(),
            "nll_loss": nll_loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if sample.get("alignments") is not None:
            alignment_loss = self.compute_alignment_loss(sample, net_output)
            if alignment_loss is not None:
                logging_output["alignment_loss"] = alignment_loss.detach()
                loss = loss + self.alignment_lambda * alignment_loss
        return loss, sample_size, logging_output

    def compute_alignment_loss(self, sample: dict[str, Any], net_output: Any) -> Optional[Tensor]:
        """The weighted sum over the batch's pairs; None of a batch without any."""
        attention: Tensor = net_output[1]["attn"][0]  # (B, T, S)
        pairs: Tensor = sample["alignments"]  # (N, 2): place in (B*S) and in (B*T), see the collater
        if len(pairs) == 0:
            return None
        probs = attention.reshape(-1, attention.size(-1))[pairs[:, 1][:, None], pairs[:, 0][:, None]]
        return -(probs.log() * sample["align_weights"].float()[:, None]).sum()

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        sample_size = total(logging_outputs, "sample_size")
        log_loss("loss", total(logging_outputs, "loss"), sample_size)
        log_loss("nll_loss", total(logging_outputs, "nll_loss"), total(logging_outputs, "ntokens"))
        log_loss("alignment_loss", total(logging_outputs, "alignment_loss"), sample_size)
        log_perplexity(of="nll_loss")
