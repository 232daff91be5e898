#!/usr/bin/env bash
# Fine-tunes on GLUE with 8 bits: glue_int8.sh TASK DATA CHECKPOINT SEED [full|frozen] [KEY=VALUE ...]
exec "$(dirname "${BASH_SOURCE[0]}")/glue_quantized.sh" int8 "$@"
