#!/usr/bin/env bash
# The study docs/studies/attention-cifar10: its plan, then its runs. Without --set precision=float32 a processor with
# bfloat16 would use that. DATA is CIFAR-10 as a folder, a .zip or its own archive. Further options are passed on.
set -euo pipefail
cd "$(dirname "$0")/.."

study() {
    sagan study attention --data "${DATA:-cifar10.zip}" --out "${OUT:-runs/study-attention-cifar10}" --preset cpu-32 \
        --steps 2000 --num 2000 --jobs 2 --set batch_size=16 --set precision=float32 --variants none,attention-16 "$@"
}
study --plan --delta 0.2 --pilot-seeds 6 --pilot-steps 500 "$@"
study "$@"
