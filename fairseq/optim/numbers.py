"""Numbers of an optimizer's settings that may be given as text.

>>> pair_of_numbers("(1e-30, 1e-3)", "adafactor_eps", "(1e-30, 1e-3)")
(1e-30, 0.001)
"""

import ast
from typing import Any

from fairseq.errors import ConfigError


def pair_of_numbers(value: Any, name: str, example: str) -> tuple[float, float]:
    """Two numbers from `"(0.9, 0.98)"`, `"0.9, 0.98"` or a sequence.

    Args:
        name: the setting of the group `optimizer`, for the message.

    Raises:
        ConfigError: it is something else.
    """
    try:
        pair = ast.literal_eval(value) if isinstance(value, str) else value
        first, second = (float(number) for number in pair)
    except (ValueError, TypeError, SyntaxError):
        raise ConfigError(f"optimizer.{name}: expected two numbers like {example}, got {value!r}") from None
    return first, second
