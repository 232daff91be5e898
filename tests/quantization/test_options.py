"""Options of range sources and precision schedules: what is wrong with them is said in the library's own words."""

import pytest

from fairseq.errors import ConfigError
from fairseq.quantization.observers.running import build_observer
from fairseq.quantization.schedules import build_schedule


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            lambda: build_observer({"name": "percentile", "percnt": 99}, "*.fc1.input"),
            "*.fc1.input: range percentile: unknown option 'percnt'; did you mean 'percent'?",
        ),
        (
            lambda: build_observer({"name": "minmax", "percent": 99}, "x"),
            "x: range minmax: unknown option 'percent'; there are none",
        ),
        (
            lambda: build_observer({"name": "percentile", "percent": "high"}, "x"),
            "x: range percentile: a value of the wrong kind (percent='high')",
        ),
        (
            lambda: build_schedule("CR", low=3, high=8, num_cycle=2),
            "precision schedule CR: unknown option 'num_cycle'; did you mean 'num_cycles'?",
        ),
        (lambda: build_schedule("constant", low=8), "precision schedule constant: option high is missing"),
    ],
)
def test_one_line(make, line):
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value) == line
