"""fairseq's import path for everything distributed: collectives, group facts and `call_main`."""

from fairseq.distributed.collectives import *  # noqa: F403
from fairseq.distributed.groups import *  # noqa: F403
from fairseq.distributed.groups import _broadcast_object_slow, _find_my_group, _find_my_group_index
from fairseq.distributed.launch import call_main
from fairseq.distributed.nested import _put_tensors_in_obj, _split_tensors_from_obj, _TensorPlaceholder
from fairseq.distributed.starting import distributed_init, distributed_main, infer_init_method

__all__ = [
    "_TensorPlaceholder",
    "_broadcast_object_slow",
    "_find_my_group",
    "_find_my_group_index",
    "_put_tensors_in_obj",
    "_split_tensors_from_obj",
    "call_main",
    "distributed_init",
    "distributed_main",
    "infer_init_method",
]
