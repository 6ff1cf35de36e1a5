"""A run that goes on whenever it is started: `python -m oracles.restarted FOLDER EPOCHS`, of three steps each.

Several processes, or one with their devices, make it; each leaves its id in FOLDER/ids.
"""

import os
import sys
from pathlib import Path

from easydel import processes
from easydel.trainers.config import DPOConfig
from oracles.joined import joined_trainer


def main(folder: Path, epochs: int) -> None:
    joined_trainer(
        folder,
        num_train_epochs=epochs,
        resume="auto",
        save_steps=1,
        save_total_limit=2,
        log_steps=4,
        evaluation_steps=5,
        generation_prompts=0,
        generation_max_new_tokens=DPOConfig.generation_max_new_tokens,
        precompute_ref_log_probs=False,
        cache_directory=None,
        sync_ref_model=True,
        ref_model_sync_steps=4,
        scheduler="cosine",
    ).train()


if __name__ == "__main__":
    processes.start(peer_timeout=8)
    place = Path(sys.argv[1], "ids", os.environ.get("JAX_PROCESS_ID", "0"))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_suffix(".new").write_text(str(os.getpid()))
    place.with_suffix(".new").replace(place)
    main(Path(sys.argv[1]), int(sys.argv[2]))
    processes.stop()
