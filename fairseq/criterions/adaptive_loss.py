"""`criterion=adaptive_loss`: negative log-likelihood of the target tokens under an adaptive softmax, padding left out.

    loss = - sum over tokens of log p(cluster of the target) + log p(target | its cluster)

Only the scores that the targets of the batch need are computed (Grave et al., arXiv:1609.04309). The sample size is the
number of tokens, or of sentences with `optimization.sentence_avg`.
"""

from typing import Any, Optional

import torch.nn.functional as F
from torch import nn

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.dataclass.criterions import AdaptiveLossConfig
from fairseq.distributed.collectives import get_world_size
from fairseq.errors import ConfigError
from fairseq.quantization.bits import bits_for, bits_kwargs


@register_criterion("adaptive_loss", dataclass=AdaptiveLossConfig)
class AdaptiveLoss(FairseqCriterion):
    """Negative log-likelihood under `model.decoder.adaptive_softmax`."""

    def __init__(self, task: Any, sentence_avg: bool):
        super().__init__(task)
        self.sentence_avg = sentence_avg

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> "AdaptiveLoss":
        """Raises ConfigError where several processes would wait for gradients that a batch does not give."""
        if get_world_size() > 1 and str(cfg.ddp_backend) in ("c10d", "pytorch_ddp"):
            raise ConfigError(
                "criterion adaptive_loss: a batch without rare words has no gradient for their clusters, which "
                "distributed_training.ddp_backend=pytorch_ddp waits for; give --ddp-backend legacy_ddp"
            )
        return cls(task, cfg.sentence_avg)

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        decoder: Any = getattr(model, "decoder", None)
        softmax: Any = getattr(decoder, "adaptive_softmax", None)
        if softmax is None:
            raise ConfigError(
                "criterion adaptive_loss needs a model with an adaptive softmax; give --adaptive-softmax-cutoff "
                "(model.adaptive_softmax_cutoff), or choose criterion cross_entropy"
            )
        net_output = model(**sample["net_input"], **bits_kwargs(num_bits))
        target = model.get_targets(sample, net_output).view(-1)  # type: ignore[operator]
        num_sentences = sample["target"].size(0)
        scores, targets = softmax(net_output[0], target, **bits_for(softmax, num_bits))
        loss = net_output[0].new_zeros(() if reduce else target.shape)
        for cluster, (part, wanted) in enumerate(zip(scores, targets, strict=True)):
            if part is None:
                continue
            # In a tail, padding's number is that of the cluster's second word, whose share of the loss is left out.
            # fairseq 0.12 does so, and losses and gradients are to be its own; scores for evaluation are right.
            losses = F.cross_entropy(
                part.float(), wanted, ignore_index=self.padding_idx, reduction="sum" if reduce else "none"
            )
            if not reduce and cluster:
                positions = targets[0] == softmax.cutoff[0] + cluster - 1
                losses = losses.new_zeros(target.numel()).masked_scatter(positions, losses)
            loss = loss + losses
        num_tokens = int(target.ne(self.padding_idx).sum())
        sample_size = num_sentences if self.sentence_avg else num_tokens
        logging_output = {
            "loss": loss.detach(),
            "ntokens": num_tokens,
            "nsentences": num_sentences,
            "sample_size": sample_size,
        }
        return loss, sample_size, logging_output

    reduce_metrics = staticmethod(CrossEntropyCriterion.reduce_metrics)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
