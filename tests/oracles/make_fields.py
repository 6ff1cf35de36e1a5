"""Writes the names of the options of the DPOConfig of another program: `python -m oracles.make_fields trl`.

With TRL 1.16 installed, or with `easydel` and EasyDeL 0.3. What a constructor takes is an option; private
names are not.
"""

import inspect
import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    [program] = sys.argv[1:]
    names = inspect.signature(import_module(program).DPOConfig).parameters
    file = Path(__file__).with_name(f"{program}_fields.txt")
    file.write_text("".join(f"{name}\n" for name in names if not name.startswith("_")), encoding="utf-8")
