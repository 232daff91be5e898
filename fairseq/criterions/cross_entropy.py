"""`criterion=cross_entropy`: negative log-likelihood of the target tokens, padding left out.

    loss = - sum over tokens of log p(target)

The sample size is the number of tokens, or of sentences with `optimization.sentence_avg`.
"""

from typing import Any, Optional

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.criterions.fairseq_criterion import log_loss, log_perplexity, total
from fairseq.dataclass.criterions import CrossEntropyConfig
from fairseq.quantization.bits import bits_kwargs

CrossEntropyCriterionConfig = CrossEntropyConfig  # fairseq's name


@register_criterion("cross_entropy", dataclass=CrossEntropyConfig)
class CrossEntropyCriterion(FairseqCriterion):
    """Negative log-likelihood of the target tokens."""

    def __init__(self, task: Any, sentence_avg: bool):
        super().__init__(task)
        self.sentence_avg = sentence_avg

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        net_output = model(**sample["net_input"], **bits_kwargs(num_bits))
        loss, _ = self.compute_loss(model, net_output, sample, reduce=reduce)
        num_sentences = sample["target"].size(0)
        sample_size = num_sentences if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": num_sentences,
            "sample_size": sample_size,
        }
        return loss, sample_size, logging_output

    def compute_loss(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The loss, twice: what is optimised and what is reported as nll_loss."""
        lprobs = model.get_normalized_probs(net_output, log_probs=True)
        target = model.get_targets(sample, net_output).view(-1)
        loss = F.nll_loss(
            lprobs.view(-1, lprobs.size(-1)),  # (B, T, V) -> (B*T, V)
            target,
            ignore_index=self.padding_idx,
            reduction="sum" if reduce else "none",
        )
        return loss, loss

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        loss, ntokens = total(logging_outputs, "loss"), total(logging_outputs, "ntokens")
        sample_size = total(logging_outputs, "sample_size")
        log_loss("loss", loss, sample_size)
        if sample_size != ntokens:
            log_loss("nll_loss", loss, ntokens)
            log_perplexity(of="nll_loss")
        else:
            log_perplexity(of="loss")

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
