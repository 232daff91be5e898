"""`criterion=nat_loss`: the losses of all that a refining model predicts, each the mean of its positions.

A model's `forward` returns for each part `out` (..., V), `tgt` (...) or probabilities (..., V), `mask` (...), and how
they count: `ls` is the share of the uniform distribution, `factor` a weight, `nll_loss` marks the words' loss. A part
may bring its `loss` instead. `fairseq.models.nat` has such models.
"""

from typing import Any, Optional

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.criterions.fairseq_criterion import LOG_2, log_loss, log_perplexity, total
from fairseq.dataclass.criterions import LabelSmoothedDualImitationConfig
from fairseq.errors import ConfigError
from fairseq.logging import metrics
from fairseq.quantization.bits import bits_kwargs

LabelSmoothedDualImitationCriterionConfig = LabelSmoothedDualImitationConfig  # fairseq's name


@register_criterion("nat_loss", dataclass=LabelSmoothedDualImitationConfig)
class LabelSmoothedDualImitationCriterion(FairseqCriterion):
    """Sum of a model's losses."""

    def __init__(self, task: Any, label_smoothing: float):
        super().__init__(task)
        self.label_smoothing = label_smoothing

    def _compute_loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        masks: Optional[Tensor] = None,
        label_smoothing: float = 0.0,
        name: str = "loss",
        factor: float = 1.0,
    ) -> dict[str, Any]:
        """Cross entropy of the positions of `masks`; zero where there are none."""
        if masks is not None:
            outputs, targets = outputs[masks], targets[masks]
        if masks is not None and not masks.any():
            nll_loss = loss = outputs.sum() * 0
        else:
            log_probs = F.log_softmax(outputs.float(), dim=-1)
            if targets.dim() == 1:
                nll_loss = F.nll_loss(log_probs, targets.to(log_probs.device))
            else:  # probabilities
                nll_loss = F.kl_div(log_probs, targets.to(log_probs), reduction="none").sum(-1).mean()
            loss = nll_loss
            if label_smoothing > 0:
                loss = nll_loss * (1 - label_smoothing) - log_probs.mean() * label_smoothing
        return {"name": name, "loss": loss * factor, "nll_loss": nll_loss, "factor": factor}

    def _custom_loss(self, loss: Tensor, name: str = "loss", factor: float = 1.0) -> dict[str, Any]:
        """A loss that the model has computed itself."""
        return {"name": name, "loss": loss * factor, "factor": factor}

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Loss of a batch whose `prev_target` is the decoder's input; `sample_size` is 1, as losses are means."""
        if "prev_target" not in sample:
            raise ConfigError("criterion=nat_loss needs targets with noise, which --task translation_lev makes")
        net_input = sample["net_input"]
        outputs = model(
            net_input["src_tokens"],
            net_input["src_lengths"],
            sample["prev_target"],
            sample["target"],
            **bits_kwargs(num_bits),
        )
        losses, nll_losses = [], []
        for name, part in outputs.items():
            factor = part.get("factor", 1.0)
            if part.get("loss") is not None:
                losses.append(self._custom_loss(part["loss"], f"{name}-loss", factor))
                continue
            losses.append(
                self._compute_loss(
                    part["out"], part["tgt"], part.get("mask"), part.get("ls", 0.0), f"{name}-loss", factor
                )
            )
            if part.get("nll_loss", False):
                nll_losses.append(losses[-1]["nll_loss"])
        loss = sum(each["loss"] for each in losses)
        nll_loss = sum(nll_losses) if nll_losses else loss.new_tensor(0)  # type: ignore[union-attr]
        logging_output = {
            "loss": loss.detach(),  # type: ignore[union-attr]
            "nll_loss": nll_loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": 1,
        }
        for each in losses:
            logging_output[each["name"]] = (each["loss"] / each["factor"]).detach() if reduce else each["loss"]
        return loss, 1, logging_output

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        sample_size = total(logging_outputs, "sample_size")
        log_loss("loss", total(logging_outputs, "loss"), sample_size)
        log_loss("nll_loss", total(logging_outputs, "nll_loss"), sample_size)
        log_perplexity(of="loss")
        for key in logging_outputs[0] if logging_outputs else ():
            if key.endswith("-loss"):
                mean = total(logging_outputs, key) / sample_size / LOG_2 if sample_size > 0 else 0.0
                metrics.log_scalar(key.removesuffix("-loss"), mean, sample_size, round=3)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
