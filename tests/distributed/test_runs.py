"""Two processes train as one does at twice the batch, stop together, fail with one line, and hand over to one."""

import signal
import subprocess
from pathlib import Path

import pytest

from fairseq.logging.history import read_history

TWO = ("--distributed-world-size", 2)
ONE = ("--update-freq", 2)


def reported(folder: Path) -> dict[tuple[str, int], tuple[float, float]]:
    """Loss and accuracy of every update and validation."""
    *records, last = read_history(folder)
    assert last["tag"] == "done"
    assert {record["tag"] for record in records} == {"train_inner", "train", "valid"}
    # the line of an epoch that was interrupted covers only a part of it
    return {(r["tag"], r["num_updates"]): (r["loss"], r["accuracy"]) for r in records if r["tag"] != "train"}


def assert_same(one: dict, two: dict) -> None:
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert two[key] == pytest.approx(value, abs=1e-5), key


@pytest.fixture(scope="module")
def whole(group) -> dict:
    """One process, two batches an update: four updates in each of two epochs; the last of them has one batch."""
    done = group.run(*group.train("one", *ONE))
    assert done.returncode == 0, done.stderr
    losses = reported(group.folder / "one")
    assert [number for tag, number in losses if tag == "train_inner"] == list(range(1, 9))
    return losses


def test_two_processes_are_one_at_twice_the_batch(group, whole):
    done = group.run(*group.train("two", *TWO))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("num_updates=8,") == 1, "one log"
    assert_same(whole, reported(group.folder / "two"))


@pytest.mark.parametrize(("first", "then"), [(TWO, ONE), (ONE, (*TWO, "--ddp-backend", "legacy_ddp"))])
def test_another_number_of_processes_goes_on(group, whole, first, then):
    name = "two-one" if first is TWO else "one-two"
    for flags in ((*first, "--max-update", 2, "--disable-validation"), then):
        done = group.run(*group.train(name, *flags))
        assert done.returncode == 0, done.stderr
    assert_same(whole, reported(group.folder / name))


def test_an_error_is_said_once(group):
    done = group.run(*group.train("never", *TWO, data="nodata"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: task.data=nodata") and done.stderr.count("\n") == 1


def test_unused_parameters_are_named(group):
    words = [word for word in group.train("unused", *TWO) if word != "--find-unused-parameters"]
    done = group.run(*words)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "lm_head" in done.stderr and "find_unused_parameters=true" in done.stderr


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("needs Linux's list of child processes")
    commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in listed.read_text().split()}
    return [child for child, command in commands.items() if b"spawn_main" in command]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_to_one_process_ends_all(group, number):
    """Killed: the others end within seconds and say who it was. Asked to stop: all save after the same update."""
    name = f"signal-{int(number)}"
    words = group.train(name, *TWO, "--max-epoch", 10000, "--total-num-update", 10**6, "--disable-validation")
    process = group.start(*words, "--save-interval", 10000)
    assert process.stdout is not None
    for line in process.stdout:
        if "num_updates=5," in line:
            break
    (worker,) = children(process.pid)
    subprocess.run(["kill", f"-{int(number)}", str(worker)], check=True)
    out, err = process.communicate(timeout=30)  # one that waits for the other would wait for minutes
    assert not Path(f"/proc/{worker}").exists()
    if number == signal.SIGKILL:
        assert process.returncode == 1
        assert err.startswith(f"error: rank 1 (process {worker}) was killed by SIGKILL") and err.count("\n") == 1
    else:
        assert process.returncode == 128 + number and err == ""
        assert out.count("Saved checkpoint") == 1 and "stopped by SIGTERM at update" in out


def test_one_hydra_folder_under_torchrun(group):
    folder = group.folder / "hydra"
    folder.mkdir()
    words = f"""task=sentence_prediction task.data={group.data} task.num_classes=2 task.init_token=0
        task.separator_token=2 task.max_positions=64 model=roberta model.encoder_layers=1 model.encoder_embed_dim=16
        model.encoder_ffn_embed_dim=16 model.encoder_attention_heads=2 criterion=sentence_prediction optimizer=adam
        optimization.lr=[0.01] dataset.batch_size=4 optimization.max_epoch=1 common.cpu=true common.log_interval=1
        distributed_training.find_unused_parameters=true checkpoint.no_epoch_checkpoints=true
        hydra.run.dir={folder}/run-${{now:%S.%f}}""".split()
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", 2, "--master_port", 0, "--standalone", "-m")
    done = group.run(*launcher, "fairseq_cli.hydra_train", *words)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    assert {path.name for path in made.iterdir()} == {".hydra", "checkpoints", "hydra_train.log"}
    assert (made / "checkpoints" / "checkpoint_last.pt").exists()
    assert (made / "hydra_train.log").read_text().count("done training") == 1
    assert not list(group.folder.glob("*.log")) and not (group.folder / "outputs").exists()
