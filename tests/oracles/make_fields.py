"""Writes the names of the options of TRL's DPOConfig: `python -m oracles.make_fields`, with TRL 1.16 installed."""

import dataclasses
from pathlib import Path

FILE = Path(__file__).with_name("trl_fields.txt")

if __name__ == "__main__":
    from trl import DPOConfig

    FILE.write_text("".join(f"{field.name}\n" for field in dataclasses.fields(DPOConfig)), encoding="utf-8")
