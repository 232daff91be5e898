"""Names of low-precision FPGA layers that stand beside number formats in other toolkits, and why they are none.

>>> refusal("Logic_Nets")
'a network of truth tables over a few inputs each, not a number format; for one-bit values use binary'
>>> refusal("logarithm") is None
True
"""

import re
from typing import Optional

_LOOKUP = "a network of lookup tables that replace products, not a number format; for one-bit values use binary"
REASONS = {
    "lut": _LOOKUP,
    "lutnet": _LOOKUP,
    "logicnet": "a network of truth tables over a few inputs each, not a number format; for one-bit values use binary",
    "mxinthardware": "a circuit that multiplies MXINT numbers, not a number format; its numbers are those of mxint8",
}


def refusal(name: str) -> Optional[str]:
    """Why `name`, in any case and with any separators, names no number format; None for other names."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return REASONS.get(plain) or REASONS.get(plain.removesuffix("s"))
