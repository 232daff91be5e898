"""The base of models, and the common shapes: encoder-decoder, encoder only, language model.

A model is built from a config and a task, `Model.build_model(cfg, task)`, and is called with a sample's `net_input`.
State dicts of older versions are upgraded on load: every submodule may define `upgrade_state_dict_named`.
"""

import logging
from argparse import Namespace
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from fairseq.dataclass.flags import add_flags_of
from fairseq.models.fairseq_decoder import FairseqDecoder
from fairseq.models.fairseq_encoder import FairseqEncoder
from fairseq.models.layer_pruning import prune_state_dict
from fairseq.models.registries import RegistrableModel

logger = logging.getLogger(__name__)


def softmax_in_fp32(scores: Tensor, log_probs: bool) -> Tensor:
    """(Log-)probabilities over the last dimension."""
    return F.log_softmax(scores.float(), dim=-1) if log_probs else F.softmax(scores.float(), dim=-1)


def check_type(module: Any, expected_type: type) -> None:
    """Assert that `module`, or what it wraps, is of a type."""
    inner = getattr(module, "unwrapped_module", module)
    assert isinstance(inner, expected_type), f"{type(inner)} != {expected_type}"


def _remove_weight_norm(module: nn.Module) -> None:
    """Compute the weight of a layer with weight norm, in either of torch's forms, once and for all."""
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            nn.utils.remove_weight_norm(module, hook.name)
    for name, steps in list(getattr(module, "parametrizations", {}).items()):
        if any(type(step).__name__ == "_WeightNorm" for step in steps):
            nn.utils.parametrize.remove_parametrizations(module, name)


class BaseFairseqModel(RegistrableModel, nn.Module):
    """Base class of every model."""

    def __init__(self) -> None:
        super().__init__()
        self._is_generation_fast = False

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Add this model's flags to `parser`: those of its config dataclass, unless a class overrides this. A
        flag that is not given leaves nothing, for the architecture's function to fill in.
        """
        add_flags_of(cls, parser, delete_default=True)

    def get_targets(self, sample: dict[str, Any], net_output: Any) -> Tensor:
        """The targets that `net_output` is compared with."""
        return sample["target"]

    def get_normalized_probs(self, net_output: Any, log_probs: bool, sample: Optional[dict[str, Any]] = None) -> Tensor:
        """(Log-)probabilities of a `forward` result."""
        decoder: Any = getattr(self, "decoder", None)
        if decoder is not None:
            return decoder.get_normalized_probs(net_output, log_probs, sample)  # type: ignore[no-any-return]
        if torch.is_tensor(net_output):
            return softmax_in_fp32(net_output, log_probs)
        raise NotImplementedError(f"{type(self).__name__} must define get_normalized_probs")

    def get_normalized_probs_scriptable(
        self, net_output: Any, log_probs: bool, sample: Optional[dict[str, Any]] = None
    ) -> Tensor:
        return self.get_normalized_probs(net_output, log_probs, sample)

    def extract_features(self, *args: Any, **kwargs: Any) -> Any:
        """Like `forward`, without the output layer."""
        return self(*args, **kwargs)

    def max_positions(self) -> Any:
        """The longest input (or pair of source and target) in tokens."""
        return None

    # --- loading --------------------------------------------------------------------------------------------------

    def load_state_dict(  # type: ignore[override]
        self,
        state_dict: dict[str, Any],
        strict: bool = True,
        model_cfg: Optional[Any] = None,
        args: Optional[Namespace] = None,
    ) -> Any:
        """Load weights of this or an older version, with masks of pruned weights and adapters, where there are any.

        Args:
            state_dict: keys are upgraded in place.
            strict: every key must match.
            model_cfg: the config whose `encoder_layers_to_keep` / `decoder_layers_to_keep` choose layers.
            args: the same as a namespace.
        """
        self.upgrade_state_dict(state_dict)
        if any(key.endswith(("_mask", "lora._extra_state", "input_pruning._extra_state")) for key in state_dict):
            from fairseq.graph.restoring import restore

            restore(self, state_dict)
        return super().load_state_dict(prune_state_dict(state_dict, args if model_cfg is None else model_cfg), strict)

    def upgrade_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Bring a whole state dict up to date, in place."""
        self.upgrade_state_dict_named(state_dict, "")

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Let every submodule bring its part of `state_dict` up to date; `name` is this model's own path."""
        prefix = f"{name}." if name else ""
        for path, module in self.named_modules():
            if module is self:
                continue
            if hasattr(type(module), "upgrade_state_dict_named"):
                module.upgrade_state_dict_named(state_dict, prefix + path)  # type: ignore[operator]
            elif hasattr(type(module), "upgrade_state_dict"):
                module.upgrade_state_dict(state_dict)  # type: ignore[operator]

    # --- training -------------------------------------------------------------------------------------------------

    def set_num_updates(self, num_updates: int) -> None:
        """Pass the number of updates to every submodule with `set_num_updates`."""
        self._tell("set_num_updates", num_updates)

    def set_epoch(self, epoch: int) -> None:
        """Pass the number of the epoch to every submodule with `set_epoch`."""
        self._tell("set_epoch", epoch)

    def _tell(self, method: str, *args: Any) -> None:
        # looked up on the class: nn.Module's own attribute lookup is slow for names that are not there
        for module in self.modules():
            if module is not self and hasattr(type(module), method):
                getattr(module, method)(*args)

    # --- inference ------------------------------------------------------------------------------------------------

    def prepare_for_inference_(self, cfg: Any) -> None:
        """Make ready for generation with `cfg.generation`'s settings; the model cannot be trained afterwards."""
        generation = cfg.generation
        self.make_generation_fast_(
            beamable_mm_beam_size=None if generation.no_beamable_mm else generation.beam,
            need_attn=generation.print_alignment,
            retain_dropout=generation.retain_dropout,
            retain_dropout_modules=generation.retain_dropout_modules,
        )

    def make_generation_fast_(self, **kwargs: Any) -> None:
        """Call `make_generation_fast_` of every submodule that has it, remove weight norm, and forbid training."""
        if self._is_generation_fast:
            return
        self._is_generation_fast = True
        kwargs.pop("name", None)  # of a model inside of a model
        for path, module in self.named_modules():
            if module is not self and hasattr(type(module), "make_generation_fast_"):
                module.make_generation_fast_(name=path, **kwargs)  # type: ignore[operator]
        for module in self.modules():
            _remove_weight_norm(module)
        self.eval()

    def train(self, mode: bool = True) -> "BaseFairseqModel":
        if mode and self._is_generation_fast:
            raise RuntimeError("this model was prepared for inference and cannot be trained any more; load it again")
        return super().train(mode)

    def prepare_for_onnx_export_(self, **kwargs: Any) -> None:
        """Call `prepare_for_onnx_export_` of every submodule that has it."""
        for module in self.modules():
            if module is not self and hasattr(type(module), "prepare_for_onnx_export_"):
                module.prepare_for_onnx_export_(**kwargs)  # type: ignore[operator]

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        """Published archives: name -> address."""
        return {}

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        **kwargs: Any,
    ) -> Any:
        """A `GeneratorHubInterface`, with `translate`, `sample`, `score` and `generate`, on a folder with a checkpoint.

        Args:
            checkpoint_file: several between colons are an ensemble.
            data_name_or_path: the folder with the dictionaries, where the checkpoint does not carry them; one that
                begins with "." is below the model's.
            kwargs: `bpe` and `tokenizer`; `integer_weights=True` keeps a quantized checkpoint's weights as integers
                only; settings by bare name replace the checkpoint's (`source_lang="de"`).
        """
        from fairseq import hub_utils

        return hub_utils.generator_from_pretrained(
            model_name_or_path, checkpoint_file, data_name_or_path, archive_map=cls.hub_models(), **kwargs
        )


class FairseqEncoderDecoderModel(BaseFairseqModel):
    """Sequence to sequence."""

    def __init__(self, encoder: FairseqEncoder, decoder: FairseqDecoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor, **kwargs: Any) -> Any:
        """Scores (B, T, V) for the target after `prev_output_tokens`, given the source."""
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **kwargs)
        return self.decoder(prev_output_tokens, encoder_out=encoder_out, **kwargs)

    def forward_decoder(self, prev_output_tokens: Tensor, **kwargs: Any) -> Any:
        return self.decoder(prev_output_tokens, **kwargs)

    def extract_features(
        self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor, **kwargs: Any
    ) -> Any:
        encoder_out = self.encoder(src_tokens, src_lengths=src_lengths, **kwargs)
        return self.decoder.extract_features(prev_output_tokens, encoder_out=encoder_out, **kwargs)

    def output_layer(self, features: Tensor, **kwargs: Any) -> Tensor:
        return self.decoder.output_layer(features, **kwargs)

    def max_positions(self) -> Any:
        return self.encoder.max_positions(), self.decoder.max_positions()

    def max_decoder_positions(self) -> Any:
        return self.decoder.max_positions()


class FairseqModel(FairseqEncoderDecoderModel):
    """Former name of FairseqEncoderDecoderModel."""


class FairseqEncoderModel(BaseFairseqModel):
    """An encoder by itself."""

    def __init__(self, encoder: FairseqEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, **kwargs: Any) -> Any:
        return self.encoder(src_tokens, src_lengths, **kwargs)

    def get_normalized_probs(self, net_output: Any, log_probs: bool, sample: Optional[dict[str, Any]] = None) -> Tensor:
        return softmax_in_fp32(net_output["encoder_out"], log_probs)

    def max_positions(self) -> Any:
        return self.encoder.max_positions()


class FairseqLanguageModel(BaseFairseqModel):
    """A decoder by itself."""

    def __init__(self, decoder: FairseqDecoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, src_tokens: Tensor, **kwargs: Any) -> Any:
        """Scores (B, T, V) for the token after each of `src_tokens` (B, T)."""
        return self.decoder(src_tokens, **kwargs)

    def forward_decoder(self, prev_output_tokens: Tensor, **kwargs: Any) -> Any:
        return self.decoder(prev_output_tokens, **kwargs)

    def extract_features(self, src_tokens: Tensor, **kwargs: Any) -> Any:
        return self.decoder.extract_features(src_tokens, **kwargs)

    def output_layer(self, features: Tensor, **kwargs: Any) -> Tensor:
        return self.decoder.output_layer(features, **kwargs)

    def max_positions(self) -> Any:
        return self.decoder.max_positions()

    def max_decoder_positions(self) -> Any:
        return self.decoder.max_positions()

    @property
    def supported_targets(self) -> set[str]:
        return {"future"}
