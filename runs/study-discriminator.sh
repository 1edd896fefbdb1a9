#!/usr/bin/env bash
# The published study docs/studies/discriminator, on a processor with bfloat16; on others give --set precision=float32 as well.
# DATA is CIFAR-10 as a folder, a .zip or its own archive. Further options are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."

sagan study discriminator --data "${DATA:-cifar10.zip}" --out "${OUT:-runs/study-discriminator}" --seeds 3 --steps 3000 --jobs 2 \
    --set channels_g=16 --set precision=bfloat16 "$@"
