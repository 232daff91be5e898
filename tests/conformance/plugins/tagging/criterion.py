import math
from dataclasses import dataclass, field

import torch.nn.functional as F
from omegaconf import II

from fairseq import metrics, utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass


@dataclass
class TaggingCriterionConfig(FairseqDataclass):
    smoothing: float = field(default=0.0, metadata={"help": "label smoothing"})
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("tagging", dataclass=TaggingCriterionConfig)
class TaggingCriterion(FairseqCriterion):
    def __init__(self, task, smoothing, sentence_avg):
        super().__init__(task)
        self.smoothing = smoothing
        self.sentence_avg = sentence_avg

    def forward(self, model, sample, reduce=True):
        logits = model(**sample["net_input"])[0]
        target = sample["target"]
        loss = F.cross_entropy(
            logits.reshape(-1, logits.size(-1)).float(),
            target.view(-1),
            ignore_index=-1,
            reduction="sum" if reduce else "none",
            label_smoothing=self.smoothing,
        )
        mask = target.ne(-1)
        sample_size = sample["nsentences"] if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": utils.item(loss.data) if reduce else loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
            "ncorrect": utils.item((logits.argmax(-1).eq(target) & mask).sum()),
        }
        return loss, sample_size, logging_output

    @staticmethod
    def reduce_metrics(logging_outputs) -> None:
        total = lambda key: sum(log.get(key, 0) for log in logging_outputs)  # noqa: E731
        metrics.log_scalar("loss", total("loss") / total("sample_size") / math.log(2), total("sample_size"), round=3)
        metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["loss"].avg))
        metrics.log_scalar("tag_accuracy", 100.0 * total("ncorrect") / total("ntokens"), total("ntokens"), round=2)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
