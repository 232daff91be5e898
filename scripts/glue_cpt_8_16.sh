#!/usr/bin/env bash
# Fine-tunes on GLUE with precision that cycles between 8 and 16 bits: glue_cpt_8_16.sh TASK DATA CHECKPOINT SEED [full|frozen] [KEY=VALUE ...]
exec "$(dirname "${BASH_SOURCE[0]}")/glue_quantized.sh" cpt_8_16 "$@"
