"""`criterion=masked_lm`: negative log-likelihood of the masked tokens.

The model projects onto the vocabulary only where `target` is not padding; in a batch without a masked token,
everywhere, so that the output layer still takes part. The sample size is the number of masked tokens.
"""

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import nn

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.criterions.fairseq_criterion import log_loss, log_perplexity, total
from fairseq.dataclass.criterions import MaskedLmCriterionConfig
from fairseq.quantization.bits import bits_kwargs

MaskedLmConfig = MaskedLmCriterionConfig  # fairseq's name


@register_criterion("masked_lm", dataclass=MaskedLmCriterionConfig)
class MaskedLmLoss(FairseqCriterion):
    """Negative log-likelihood of the masked tokens."""

    def __init__(self, cfg: Any, task: Any):
        super().__init__(task)

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        masked_tokens = sample["target"].ne(self.padding_idx)  # (B, T)
        sample_size = masked_tokens.sum()
        # a mask of all True where nothing is masked, chosen on the device so that nothing waits for it
        masked_tokens = torch.where(masked_tokens.any(), masked_tokens, masked_tokens.new_ones(()))
        logits = model(**sample["net_input"], masked_tokens=masked_tokens, **bits_kwargs(num_bits))[0]  # (masked, V)
        targets = model.get_targets(sample, [logits])[masked_tokens]  # type: ignore[operator]
        loss = F.cross_entropy(
            logits.float().view(-1, logits.size(-1)), targets.view(-1), ignore_index=self.padding_idx, reduction="sum"
        )
        logging_output = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
        }
        return loss, sample_size, logging_output

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        log_loss("loss", total(logging_outputs, "loss"), total(logging_outputs, "sample_size"))
        log_perplexity(of="loss")

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
