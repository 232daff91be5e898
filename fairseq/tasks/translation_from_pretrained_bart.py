"""`task=translation_from_pretrained_bart`: translation by a model that mBART's pre-training began (Liu et al.,
arXiv:2001.08210).

Sources end in `</s> [SRC]`, targets in `</s> [TGT]`, which is also what the decoder begins with. The dictionaries get
the symbols of the pre-training: `[LANGUAGE]` for each of `langs`, in the same order, and `<mask>`.
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.dataclass.pretraining import TranslationFromPretrainedBARTConfig
from fairseq.errors import ConfigError
from fairseq.sequence_scorer import SequenceScorer
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationTask


@register_task("translation_from_pretrained_bart", dataclass=TranslationFromPretrainedBARTConfig)
class TranslationFromPretrainedBARTTask(TranslationTask):
    """Translation by a pre-trained model; see the head of this file.

    Args:
        args: a `TranslationFromPretrainedBARTConfig` node.
        src_dict, tgt_dict: dictionaries of the two languages.

    Raises:
        ConfigError: the pair's languages are not among `langs`.
    """

    def __init__(self, args: Any, src_dict: Dictionary, tgt_dict: Dictionary):
        super().__init__(args, src_dict, tgt_dict)
        self.args = args
        self.langs = args.langs.split(",") if args.langs else []
        for side in (args.source_lang, args.target_lang):
            if side not in self.langs:
                raise ConfigError(f"task.langs={args.langs}: {side!r} is not in it; give all of the pre-training's")
        for dictionary in (src_dict, tgt_dict):
            for language in self.langs:
                dictionary.add_symbol(f"[{language}]")
            dictionary.add_symbol("<mask>")

    def pair_settings(self) -> dict[str, Any]:
        return {"prepend_bos": self.args.prepend_bos, "append_source_id": True}

    def build_generator(  # type: ignore[override]
        self, models: Any, args: Any, extra_gen_cls_kwargs: Optional[dict[str, Any]] = None, **kwargs: Any
    ) -> Any:
        """The usual one, whose outputs end in `[TGT]`."""
        end = self.tgt_dict.index(f"[{self.args.target_lang}]")
        if getattr(args, "score_reference", False):
            return SequenceScorer(self.tgt_dict, eos=end)
        return super().build_generator(
            models, args, extra_gen_cls_kwargs={**(extra_gen_cls_kwargs or {}), "eos": end}, **kwargs
        )

    def build_dataset_for_inference(
        self, src_tokens: list[Tensor], src_lengths: Any, constraints: Any = None, **kwargs: Any
    ) -> LanguagePairDataset:
        end = torch.tensor([self.src_dict.index(f"[{self.args.source_lang}]")])
        sources = [torch.cat([tokens, end]) for tokens in src_tokens]
        return LanguagePairDataset(
            sources,
            [len(source) for source in sources],
            self.src_dict,
            tgt_dict=self.tgt_dict,
            constraints=constraints,
        )
