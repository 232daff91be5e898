from types import SimpleNamespace

import pytest

from fairseq.distributed.launch import Membership, _first_host, call_main, membership_from_environment
from fairseq.errors import ConfigError


def config(**overrides):
    defaults = dict(
        distributed_world_size=1, distributed_rank=0, device_id=0, distributed_init_method=None, distributed_port=-1,
        pipeline_model_parallel=False, pipeline_balance=None, pp_schedule="1f1b",
    )  # fmt: skip
    return SimpleNamespace(**{**defaults, **overrides})


def test_a_pipeline_starts_as_many_processes_as_it_has_stages(monkeypatch):
    from fairseq.distributed import workers

    monkeypatch.setattr(workers, "run_with_workers", lambda cfg, main, kwargs: cfg.distributed_training)
    stages = dict(pipeline_model_parallel=True, pipeline_balance="[1, 1, 1, 1]", distributed_no_spawn=False)
    for schedule, expected in (("1f1b", 4), ("zbv", 2)):
        cfg = SimpleNamespace(distributed_training=config(**stages, pp_schedule=schedule))
        assert call_main(cfg, None).distributed_world_size == expected


def test_alone_without_any_launcher():
    assert membership_from_environment(config(), {}) is None


def test_torchrun_counts_over_the_configs_world_size():
    environ = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert membership_from_environment(config(), environ) == Membership(3, 4, 1, "env://")


def test_slurm_with_a_port_of_its_own():
    environ = {
        "SLURM_NTASKS": "8",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "20003",
        "SLURM_STEP_NODELIST": "gpu[07-09,12]",
    }
    assert membership_from_environment(config(), environ) == Membership(5, 8, 1, "tcp://gpu07:20003")
    given = membership_from_environment(config(distributed_port=4711), environ)
    assert given is not None and given.init_method == "tcp://gpu07:4711"


def test_a_single_slurm_task_is_no_group():
    assert membership_from_environment(config(), {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) is None


@pytest.mark.parametrize(
    ("nodes", "first"), [("a01", "a01"), ("a01,b02", "a01"), ("n[3-5]", "n3"), ("n[3,9]", "n3"), ("n[03-07,12]", "n03")]
)
def test_first_host_of_a_node_list(nodes, first):
    assert _first_host(nodes) == first


def test_without_spawning_nobody_starts_the_other_processes():
    cfg = SimpleNamespace(distributed_training=config(distributed_world_size=2, distributed_no_spawn=True))
    with pytest.raises(ConfigError, match="distributed_no_spawn=true: nothing starts the other processes"):
        call_main(cfg, lambda cfg: None)
    alone = SimpleNamespace(distributed_training=config(distributed_no_spawn=True))
    assert call_main(alone, lambda cfg: "ran") == "ran"
