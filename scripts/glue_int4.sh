#!/usr/bin/env bash
# Fine-tunes on GLUE with 4 bits: glue_int4.sh TASK DATA CHECKPOINT SEED [full|frozen] [KEY=VALUE ...]
exec "$(dirname "${BASH_SOURCE[0]}")/glue_quantized.sh" int4 "$@"
