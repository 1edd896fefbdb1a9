#!/usr/bin/env bash
# The study docs/studies/spectral-norm-16x: its plan, then its runs. Without --set precision=float32 a processor with
# bfloat16 would use that. DATA is CIFAR-10 as a folder, a .zip or its own archive. Further options are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."

study() {
    sagan study spectral-norm --data "${DATA:-cifar10.zip}" --out "${OUT:-runs/study-spectral-norm-16x}" --preset cpu-32 \
        --steps 400 --num 1000 --jobs 2 --set batch_size=16 --set precision=float32 --variants none-16x,both-16x "$@"
}
study --plan --delta 0.2 --pilot-seeds 3 --pilot-steps 400 "$@"
study "$@"
