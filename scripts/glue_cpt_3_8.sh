#!/usr/bin/env bash
# Fine-tunes on GLUE with precision that cycles between 3 and 8 bits: glue_cpt_3_8.sh TASK DATA CHECKPOINT SEED [full|frozen] [KEY=VALUE ...]
exec "$(dirname "${BASH_SOURCE[0]}")/glue_quantized.sh" cpt_3_8 "$@"
