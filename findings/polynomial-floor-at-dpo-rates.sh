#!/usr/bin/env bash
# The schedule `polynomial` of transformers 5.24.0 ends at a rate of 1e-7 in absolute terms, whatever the peak.
# At the rates of supervised tuning (5e-5) that is zero; at those of DPO it is not: a run with a peak of 5e-7 ends at
# 21 % of it, one of 2e-7 at 50 %, and a peak of 1e-7 is an error that names `lr_end`, an argument the user never gave.
# Only `lr_scheduler_kwargs={"lr_end": ...}` sets it.
# `inverse_sqrt` without warm-up has another constant: its time scale is 10,000 steps then, so that over the 1,000 steps
# of a preference run the rate falls by 5 % in all; with 10 steps of warm-up it ends at a tenth.
# Seen with transformers 5.24.0 and torch 2.13.0 on Python 3.11. Exits with 1 if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0
"$folder/env/bin/python" - <<'PY'
import torch
from transformers import get_scheduler


def rates(name, peak, steps, warm_up=0):
    """The rate of each step as a share of its peak."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=peak)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warm_up, num_training_steps=steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"] / peak)
        optimizer.step()
        schedule.step()
    return found


for peak, last in ((5e-5, 0.01198), (5e-7, 0.208), (2e-7, 0.505)):
    found = rates("polynomial", peak, 100)[-1]
    print(f"polynomial, peak {peak}: the last of 100 steps has {found:.3f} of it")
    assert abs(found - last) < 1e-3, found
try:
    rates("polynomial", 1e-7, 100)
except ValueError as error:
    print(f"polynomial, peak 1e-07: {error}")
    assert "lr_end (1e-07) must be smaller than initial lr" in str(error)
else:
    raise SystemExit("a peak of 1e-7 is taken now")
for warm_up, last in ((0, 0.9535), (10, 0.1001)):
    found = rates("inverse_sqrt", 5e-7, 1000, warm_up)[-1]
    print(f"inverse_sqrt, {warm_up} steps of warm-up: the last of 1,000 steps has {found:.3f} of the peak")
    assert abs(found - last) < 1e-3, found
PY
echo "as described"
