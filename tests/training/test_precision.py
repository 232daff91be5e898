"""Half precision on a CPU: fp16 says once that it cannot, bf16 trains."""


def test_fp16_without_a_gpu_is_fp32(runs):
    result = runs.trained("fp16", "--fp16")
    assert result.out.count("common.fp16 needs a GPU") == 1
    runs.trained("fp32")
    runs.assert_same_run("fp16", "fp32")


def test_bf16(runs):
    result = runs.trained("bf16", "--bf16", "--max-epoch", "1")
    runs.trained("fp32", "--max-epoch", "1")
    bf16, fp32 = runs.losses("bf16"), runs.losses("fp32")
    assert "WARNING" not in result.out
    assert bf16 != fp32 and abs(bf16[1] - fp32[1]) < 0.02 * fp32[1]
    assert {
        value.dtype.is_floating_point and value.dtype.itemsize for value in runs.checkpoint("bf16")["model"].values()
    } <= {4, False}
