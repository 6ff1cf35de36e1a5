"""Folders of rows, with the dataset card that they may have, and what `datasets` knows of JSON files on the hub."""

from pathlib import Path

import datasets
from datasets.packaged_modules.json.json import JsonConfig

CARD = "---\n{}\n---\n# Pairs\n"
TWO_CONFIGS = """configs:
- config_name: helpful
  data_files: helpful/*.jsonl
- config_name: harmless
  default: true
  data_files:
  - split: train
    path: [harmless/a.jsonl, harmless/b.jsonl]
  - split: held_out
    path: harmless/c.jsonl"""


def lay(folder: Path, names: list[str], card: str | None = None) -> Path:
    """Writes a file of one row for each name, in the format that it says, and returns the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        row = datasets.Dataset.from_list([{"prompt": name, "chosen": "yes"}])
        if ".parquet" in name:
            row.to_parquet(str(path))
        elif ".csv" in name or ".tsv" in name:
            separator = "\t" if ".tsv" in name else ";" if card and "sep:" in card else ","
            path.write_text(f"prompt{separator}chosen\n{name}{separator}yes\n")
        elif name in ("config.json", "dataset_infos.json", "dataset_dict.json", "LICENSE"):
            path.write_text("{}")
        else:
            row.to_json(str(path), compression="gzip" if name.endswith(".gz") else None)
    if card is not None:
        (folder / "README.md").write_text(CARD.format(card))
    return folder


class HubJson:
    """The builder that `datasets` makes of a dataset of JSON files on the hub."""

    __module__ = "datasets.packaged_modules.json"

    def __init__(self, data_files: dict[str, list[str]]) -> None:
        self.config = JsonConfig()
        self.config.data_files = data_files  # type: ignore[assignment]
