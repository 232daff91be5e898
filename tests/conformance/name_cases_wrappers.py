"""Cases: wrappers of models, optimizers around optimizers, pruning, and helpers of several modules."""

import argparse
import os
import signal
import tempfile
import time
from argparse import Namespace

import numpy as np
import torch
from name_case_tools import case, plain, raised, seeded, task_of, tiny_transformer
from omegaconf import OmegaConf
from torch import nn

# ---- AdaPrune


def attention():
    from fairseq.modules import MultiheadAttention

    return seeded(MultiheadAttention(8, 4, self_attention=True), 1.0)


@case
def heads_that_weigh_most():
    module = attention()
    return [
        *(plain(module._get_reserve_head_index(number)) for number in (1, 2, 4)),
        raised(lambda: module._get_reserve_head_index(5)),
    ]


@case
def heads_pruned():
    module = attention()
    module._adaptive_prune_heads(module._get_reserve_head_index(2))
    module._set_skip_embed_dim_check()
    x = torch.sin(torch.arange(48.0)).view(3, 2, 8)
    shapes = {name: list(weight.shape) for name, weight in module.named_parameters()}
    return [module.num_heads, module.head_dim, module.embed_dim, shapes, plain(module(x, x, x)[0])]


def roberta(**settings):
    from fairseq.models.roberta import RobertaModel

    sizes = {"encoder_layers": 2, "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2}
    return seeded(RobertaModel.build_model(Namespace(**sizes, max_positions=16, **settings), task_of()), 1.0)


@case
def units_that_weigh_least():
    layer = roberta().encoder.sentence_encoder.layers[0]
    return plain([layer._get_fc_rank(4), layer._get_fc_rank(16)])


@case
def units_pruned():
    layer = roberta().encoder.sentence_encoder.layers[1]
    layer._prune_fc_layer(layer._get_fc_rank(6))
    x = torch.sin(torch.arange(48.0)).view(3, 2, 8)
    layer.eval()
    shapes = [list(layer.fc1.weight.shape), list(layer.fc1.bias.shape), list(layer.fc2.weight.shape)]
    return [shapes, layer.fc1.out_features, layer.fc2.in_features, plain(layer(x, None))]


@case
def pruning_regularizers():
    model = roberta(mha_reg_scale_factor=0.5, ffn_reg_scale_factor=0.25)
    losses = [model._get_adaptive_head_loss(), model._get_adaptive_ffn_loss()]
    sum(losses).backward()
    layer = model.encoder.sentence_encoder.layers[0]
    return plain([*losses, layer.fc1.weight.grad[0], layer.self_attn.k_proj.bias.grad])


# ---- wrappers


class Inner(nn.Module):
    number = 3

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x, factor=2):
        return x * factor * self.weight


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.module, self.other = Inner(), 4

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs) + 1


@case
def proxy_of_a_wrapped_module():
    from fairseq.distributed import ModuleProxyWrapper

    proxy = ModuleProxyWrapper(Wrapped())
    proxy.load_state_dict({"weight": torch.tensor([2.0, 3.0])})
    return plain(
        [
            proxy.number,
            proxy.other,
            proxy.state_dict(),
            proxy(torch.ones(2), factor=5),
            type(proxy.module).__name__,
            raised(lambda: proxy.missing),
            raised(lambda: ModuleProxyWrapper(Inner())),
            sorted(name for name, _ in proxy.named_parameters()),
        ]
    )


@case
def timeout_of_a_module():
    from fairseq.distributed import DistributedTimeoutWrapper

    received = []
    before = signal.signal(signal.SIGUSR1, lambda *_: received.append("signal"))
    out = []
    try:
        for timeout, pause in ((0, 0.3), (100, 0.1), (1, 1.8)):
            wrapper = DistributedTimeoutWrapper(Inner(), timeout=timeout, signal=signal.SIGUSR1)
            wrapper(torch.ones(2))
            end = time.monotonic() + pause
            while time.monotonic() < end:
                time.sleep(0.02)
            out.append([list(received), plain(wrapper(torch.ones(2))), sorted(wrapper.state_dict()), wrapper.timeout])
            wrapper.stop_timeout()
    finally:
        signal.signal(signal.SIGUSR1, before)
    return out


@case
def sharding_that_is_not_there():
    from fairseq.dataclass.configs import DistributedTrainingConfig
    from fairseq.distributed import fsdp_enable_wrap, fsdp_wrap

    def enable():
        with fsdp_enable_wrap(DistributedTrainingConfig()):
            pass

    layer = nn.Linear(2, 2)
    return [fsdp_wrap(layer) is layer, fsdp_wrap(layer, min_num_params=1) is layer, raised(enable)]


@case
def tensors_apart_from_objects():
    from fairseq.distributed import utils

    tensors = []
    value = {"a": torch.ones(2), "b": [3, torch.zeros(1), ("x",)]}
    rest = utils._split_tensors_from_obj(value, tensors)
    return plain([repr(rest), tensors, utils._put_tensors_in_obj(rest, tensors)])


@case
def groups_of_ranks():
    from fairseq.distributed import utils

    groups = [[1, 2], [0, 3]]
    return [utils._find_my_group_index(groups), utils._find_my_group(groups), utils.use_xla()]


@case
def init_method_that_is_given():
    from fairseq.dataclass.configs import DistributedTrainingConfig
    from fairseq.distributed import utils

    out = []
    for settings in (
        {"distributed_world_size": 1},
        {"distributed_world_size": 2, "distributed_init_method": "tcp://x:1"},
    ):
        cfg = DistributedTrainingConfig(**settings)
        utils.infer_init_method(cfg)
        out.append([cfg.distributed_init_method, cfg.distributed_world_size, cfg.distributed_rank])
    return out


# ---- optimizers


def root_config(**common):
    adam = {"lr": [0.1], "adam_betas": "(0.9, 0.999)", "adam_eps": 1e-8, "weight_decay": 0.0, "use_old_adam": True}
    settings = {
        "fp16_init_scale": 4,
        "fp16_scale_window": 2,
        "fp16_scale_tolerance": 0.0,
        "threshold_loss_scale": 1,
        "min_loss_scale": 1e-4,
        "tpu": False,
        "bf16": False,
        "fp16_no_flatten_grads": True,
        "on_cpu_convert_precision": False,
    }
    return OmegaConf.create(
        {
            "optimizer": {"_name": "adam", "fp16_adam_stats": False, "tpu": False, **adam},
            "common": {**settings, **common},
            "optimization": {"update_freq": [1]},
            "distributed_training": {"distributed_world_size": 1},
        }
    )


def trained(name, overflow_at=None, steps=3, factor=0.5, max_norm=1.0, **common):
    from fairseq import optim

    model = seeded(nn.Linear(3, 2)).half()
    wrapper = getattr(optim, name).build_optimizer(root_config(**common), list(model.parameters()))
    out = [type(wrapper).__name__, type(wrapper.optimizer).__name__, wrapper.has_flat_params, wrapper.get_lr()]
    for step in range(steps):
        wrapper.zero_grad()
        wrapper.backward((model(torch.ones(2, 3, dtype=torch.half)) ** 2).sum())
        if step == overflow_at:
            model.weight.grad.fill_(float("inf"))
        try:
            wrapper.multiply_grads(factor)
            norm = wrapper.clip_grad_norm(max_norm)
            wrapper.step()
            weights = [round(value, 3) for value in model.weight.flatten().tolist()]
            out.append([round(float(norm), 2), weights, float(wrapper.scaler.loss_scale)])
        except OverflowError:
            out.append(["overflow", float(wrapper.scaler.loss_scale)])
    state = wrapper.state_dict()
    out.append([sorted(state), state["loss_scale"], len(state["state"])])
    wrapper.load_state_dict({**state, "loss_scale": 2.0}, {"lr": 0.5})
    out += [wrapper.get_lr(), wrapper.scaler.loss_scale]
    wrapper.set_lr(0.2)
    return [*out, wrapper.get_lr(), wrapper.supports_flat_params]


@case
def optimizer_in_fp16():
    return trained("FP16Optimizer")


@case
def optimizer_in_fp16_with_an_overflow():
    return trained("FP16Optimizer", overflow_at=1)


@case
def optimizer_in_fp16_without_clipping():
    return trained("FP16Optimizer", factor=0.25, max_norm=0.0)


@case
def optimizer_in_fp16_saving_memory():
    return trained("MemoryEfficientFP16Optimizer")


@case
def optimizer_in_fp16_saving_memory_with_an_overflow():
    return trained("MemoryEfficientFP16Optimizer", overflow_at=1)


@case
def loss_scaler():
    from fairseq.optim.dynamic_loss_scaler import DynamicLossScaler

    scaler = DynamicLossScaler(init_scale=8.0, scale_window=2, threshold=1.0)
    out = [scaler.scale(2.0)]
    inf, nan = float("inf"), float("nan")
    for norm in (1, 1, 1, inf, 1, nan, 1, 1, 1, inf, inf, inf, inf):

        def update(norm=norm):
            scaler.check_overflow(norm)
            scaler.update()

        out.append([raised(update), scaler.loss_scale])
    return out


@case
def loss_scaler_at_its_end():
    from fairseq.optim.dynamic_loss_scaler import DynamicLossScaler

    scaler = DynamicLossScaler(init_scale=4.0, scale_factor=4.0, scale_window=1, min_loss_scale=1.0)
    out = []
    for norm in (1.0, float("inf"), float("inf"), float("inf")):
        out.append([raised(lambda norm=norm: scaler.check_overflow(norm)), scaler.loss_scale])
    return out


# ---- measures, parts by path, flags


@case
def measures_of_glue():
    from fairseq.criterions import sentence_prediction as module

    found, expected = np.array([1, 0, 1, 1, 0]), np.array([1, 0, 0, 1, 1])
    scores, others = np.array([0.1, 0.4, 0.2, 0.9, 0.5]), np.array([0.0, 1.0, 0.5, 0.7, 0.2])
    return plain(
        [
            module.simple_accuracy(found, expected),
            module.acc_and_f1(found, expected),
            module.matthews_corrcoef(found, expected),
            module.pearson_and_spearman(scores, others),
        ]
    )


@case
def parts_by_path():
    from fairseq.trainer import _catalog_shared_params, _get_module_by_path, _set_module_by_path

    model = nn.Module()
    model.a, model.b = nn.Linear(2, 2), nn.Linear(2, 2)
    model.b.weight = model.a.weight
    model.c = nn.Sequential(model.a)
    _set_module_by_path(model, "b.bias", model.a.bias)
    return [
        sorted(map(sorted, _catalog_shared_params(model))),
        list(_get_module_by_path(model, "c.0.weight").shape),
        model.b.bias is model.a.bias,
    ]


@case
def flag_with_the_contents_of_a_file():
    from fairseq import utils

    path = os.path.join(tempfile.mkdtemp(), "x")
    with open(path, "w") as file:
        file.write(" some text\n")
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", action=utils.FileContentsAction)
    return [parser.parse_args(["--text", path]).text, parser.parse_args(["--text", "word"]).text]


@case
def limits_of_one_form():
    from fairseq import utils

    limits = (3, 3.5, (1, 2), {"a": 1})
    return plain([utils._match_types(a, b) for a in limits for b in limits])


@case
def small_functions():
    from fairseq import utils

    return plain([utils.relu_squared(torch.tensor([-1.0, 2.0])), utils.MANIFOLD_PATH_SEP])


@case
def types_of_fields():
    from typing import Any, List, Optional, Tuple

    from fairseq.dataclass.utils import eval_str_list, interpret_dc_type

    kinds = (int, Optional[int], List[int], Optional[List[float]], str, Any, Optional[bool], Tuple[int, int])
    texts = (None, "[1,2]", "0.1", 3, (1, 2), [1, 2], "(1,2)", "1,2")
    return [
        [str(interpret_dc_type(kind)) for kind in kinds],
        plain([[eval_str_list(text), eval_str_list(text, int)] for text in texts]),
    ]


@case
def names_of_configs():
    from fairseq.optim.lr_scheduler.pass_through import PassThroughScheduleConfig
    from fairseq.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateauLRScheduleConfig
    from fairseq.optim.lr_scheduler.step_lr_scheduler import StepLRScheduleConfig
    from fairseq.optim.lr_scheduler.tri_stage_lr_scheduler import TriStageLRScheduleConfig
    from fairseq.optim.lr_scheduler.triangular_lr_scheduler import TriangularLRScheduleConfig
    from fairseq.optim.nag import FairseqNAGConfig

    classes = (
        *(PassThroughScheduleConfig, ReduceLROnPlateauLRScheduleConfig, StepLRScheduleConfig),
        *(TriStageLRScheduleConfig, TriangularLRScheduleConfig, FairseqNAGConfig),
    )
    return [
        {key: str(value) for key, value in vars(config()).items() if key not in ("_name", "lr")} for config in classes
    ]


@case
def types_checked():
    from fairseq.models.fairseq_model import check_type

    return [raised(lambda: check_type(nn.Linear(1, 1), nn.Module)), raised(lambda: check_type(3, nn.Module))]


@case
def several_models_in_one():
    from fairseq.models import FairseqMultiModel
    from fairseq.models.transformer import TransformerModel

    models = {
        key: seeded(TransformerModel.build_model(tiny_transformer(), task_of()), scale).eval()
        for key, scale in (("de-en", 0.3), ("fr-en", 0.5))
    }
    several = FairseqMultiModel(
        {key: model.encoder for key, model in models.items()}, {key: model.decoder for key, model in models.items()}
    ).eval()
    return plain(
        [
            several.max_positions(),
            several.max_decoder_positions(),
            several.encoder is models["de-en"].encoder,
            len(several.state_dict()),
        ]
    )
