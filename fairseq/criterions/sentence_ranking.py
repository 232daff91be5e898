"""`criterion=sentence_ranking`: cross entropy over candidates, each scored by a head with one output.

The batch holds `net_input1 ... net_inputN`, one for each candidate; the target says which is right.
"""

from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.criterions.fairseq_criterion import log_classification
from fairseq.criterions.sentence_prediction import check_head, classification_loss
from fairseq.dataclass.criterions import SentenceRankingCriterionConfig
from fairseq.quantization.bits import bits_kwargs


@register_criterion("sentence_ranking", dataclass=SentenceRankingCriterionConfig)
class SentenceRankingCriterion(FairseqCriterion):
    """Loss and accuracy of choosing among candidates.

    Args:
        ranking_head_name: the head that scores.
        save_predictions: a file that gets `id<TAB>predicted<TAB>label` of each example evaluated.
        num_classes: candidates; default: `task.args.num_classes`.
    """

    def __init__(
        self, task: Any, ranking_head_name: str, save_predictions: Optional[str], num_classes: Optional[int] = None
    ):
        super().__init__(task)
        self.ranking_head_name = ranking_head_name
        self.num_classes = (
            num_classes if num_classes is not None else (getattr(task, "cfg", None) or task.args).num_classes
        )
        self.predictions_file = Path(save_predictions) if save_predictions else None
        if self.predictions_file is not None:
            self.predictions_file.write_text("", encoding="utf-8")

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        check_head(model, self.ranking_head_name, "criterion.ranking_head_name")
        scores = [
            model(  # (B, 1)
                **sample[f"net_input{number}"], classification_head_name=self.ranking_head_name, **bits_kwargs(num_bits)
            )[0]
            for number in range(1, self.num_classes + 1)
        ]
        logits = torch.cat(scores, dim=1)  # (B, candidates)
        predictions = logits.argmax(dim=1)
        targets: Optional[Tensor] = None
        if "target" in sample:
            targets = model.get_targets(sample, [logits]).view(-1)  # type: ignore[operator]
            loss, sample_size = classification_loss(logits, targets), targets.numel()
        else:
            loss, sample_size = logits.new_zeros((), requires_grad=True), 1
        if self.predictions_file is not None and not self.training:
            self._save(sample["id"], predictions, targets)
        logging_output = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
        }
        if targets is not None:
            logging_output["ncorrect"] = (predictions == targets).sum()
        return loss, sample_size, logging_output

    def _save(self, ids: Tensor, predictions: Tensor, targets: Optional[Tensor]) -> None:
        assert self.predictions_file is not None
        with open(self.predictions_file, "a", encoding="utf-8") as file:
            for row, (index, predicted) in enumerate(zip(ids.tolist(), predictions.tolist(), strict=True)):
                label = "" if targets is None else f"\t{targets[row].item()}"
                file.write(f"{index}\t{predicted}{label}\n")

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        log_classification(logging_outputs)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
