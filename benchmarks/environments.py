"""One virtual environment for each program that we are compared with, made when it is first needed."""

import importlib.metadata
import json
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / ".env"

# torch runs on CPU here, whichever build the index holds. EasyDeL reads Hugging Face weights through torch.
REQUIREMENTS = {
    "trl": ("trl==1.16.0", "torch==2.13.0", "transformers==5.23.0"),
    "easydel": ("easydel==0.3.0", "torch==2.13.0", "pillow"),
}
# What a results file names the versions of.
REPORTED = {
    "ours": ("jax", "jaxlib", "numpy"),
    "trl": ("trl", "torch", "transformers"),
    "easydel": ("easydel", "jax", "jaxlib", "flax"),
}
_VERSIONS = """
import importlib.metadata, json, platform, sys
found = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"python": platform.python_version()} | found))
"""


def interpreter(system: str) -> Path:
    """Returns the Python of a system: our own for ours, else that of its environment, which is made if need be."""
    if system == "ours":
        return Path(sys.executable)
    folder = ENVIRONMENTS / system
    python = folder / "bin" / "python"
    ready = folder / "requirements.json"  # written last: its presence says that the environment is complete
    wanted = json.dumps(REQUIREMENTS[system])
    if not ready.is_file() or ready.read_text(encoding="utf-8") != wanted:
        print(f"making the environment of {system}: {', '.join(REQUIREMENTS[system])}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[system]], check=True)
        ready.write_text(wanted, encoding="utf-8")
    return python


def compilers() -> Path:
    """Returns a folder of packages that make our jax compile for GPUs and TPUs that are not here; made if need be.

    It holds the compilers alone and nothing that they would need to run, so that it goes beside an environment that has
    jax: on `PYTHONPATH`.
    """
    folder, wanted = ENVIRONMENTS / "compilers", _compiler_packages()
    ready = folder / "requirements.json"
    if not ready.is_file() or ready.read_text(encoding="utf-8") != json.dumps(wanted):
        print(f"fetching compilers: {', '.join(wanted)}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", folder]
        subprocess.run([*command, *wanted], check=True)
        ready.write_text(json.dumps(wanted), encoding="utf-8")
    return folder


def _compiler_packages() -> list[str]:
    """Returns what our jax says that it needs to compile; of NVIDIA's libraries cuDNN, whose version is asked for."""
    release = importlib.metadata.version("jax")
    needed = [name.split(";")[0] for name in importlib.metadata.requires("jax") or [] if name.startswith("libtpu")]
    return [f"jax-cuda13-plugin=={release}", f"jax-cuda13-pjrt=={release}", "nvidia-cudnn-cu13>=9.12,<10", *needed]


def versions(system: str) -> dict[str, str]:
    """Returns the versions of Python and of the packages that matter in a system's environment."""
    command = [interpreter(system), "-c", _VERSIONS, *REPORTED[system]]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
