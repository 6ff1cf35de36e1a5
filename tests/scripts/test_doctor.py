"""The report for bug reports: what it says, what it keeps to itself, and what it finds wrong."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import easydel
from easydel.scripts import doctor
from easydel.scripts.finetune.dpo import main


def test_the_report_names_versions_devices_and_folders_and_ends_well(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(doctor, "MIN_DISK", 0)
    monkeypatch.setattr(doctor, "MIN_MEMORY", 0)
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    for words in (f"easydel-dpo  {easydel.__version__}", "backend", "device 0    cpu", "jax ", "token ids"):
        assert words in out
    assert "set, not shown" in out
    assert "hf_secret" not in out
    assert str(Path.home()) not in out
    assert out.endswith("No problems were found.\n")
    assert out.replace("\n", "").isprintable()
    assert err == ""


def test_flags_of_a_run_are_none_of_the_doctors(capsys):
    assert main(["doctor", "--beta", "1"]) == 2
    assert capsys.readouterr().err == "error: doctor takes no flags: --beta 1\n"


def test_what_is_wrong_stands_at_the_end_and_in_the_exit_status(capsys, monkeypatch):
    sick = doctor.Part("Memory", {"free": "9 B"}, ["only 9 B of memory is free: close other programs."])
    for name in ("programs", "devices", "libraries", "folders", "environment"):
        monkeypatch.setattr(doctor, name, lambda: doctor.Part("Part", {}))
    monkeypatch.setattr(doctor, "memory", lambda: sick)
    assert doctor.main([]) == 1
    assert capsys.readouterr().out == (
        "Memory\n  free        9 B\n\nproblem: only 9 B of memory is free: close other programs.\n"
    )


def test_too_little_memory_or_room_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "MIN_MEMORY", 10**18)
    monkeypatch.setattr(doctor, "MIN_DISK", 10**18)
    (problem,) = doctor.memory().problems
    assert problem.endswith("of memory is free: close other programs.")
    assert any(problem.endswith("delete files.") for problem in doctor.folders().problems)


def test_jax_that_does_not_start_or_answer_does_not_hide_the_rest(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "abacus")
    (problem,) = doctor.devices().problems
    assert problem.startswith("jax does not start: ")
    assert "abacus" in problem

    def hang(*command, timeout, **options):
        raise subprocess.TimeoutExpired("jax", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    (problem,) = doctor.devices().problems
    assert problem.startswith("jax found no devices in 120 s")


def test_a_library_that_is_missing_or_too_old_is_a_problem_with_the_command(monkeypatch):
    def installed(name: str) -> str:
        if name in ("tqdm", "wandb"):
            raise PackageNotFoundError(name)
        return "1.0" if name == "jax" else "99.0"

    asked = ["jax>=0.10.2,<0.99", "tqdm>=4.66", 'wandb>=0.31; extra == "wandb"', "rich>=14"]
    monkeypatch.setattr(doctor, "requires", lambda name: asked)
    monkeypatch.setattr(doctor, "version", installed)
    found = doctor.libraries()
    assert found.facts == {"jax": "1.0", "rich": "99.0"}
    assert [problem.partition(":")[0] for problem in found.problems] == [
        "jax is 1.0, but <0.99,>=0.10.2 is required",
        "tqdm is not installed",
    ]


def test_a_package_that_is_not_installed_is_a_problem(monkeypatch):
    def missing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", missing)
    assert doctor.libraries().problems == [
        "easydel-dpo is not installed, only its code is found: `pip install .` in its checkout."
    ]


def test_variables_that_may_hold_a_secret_are_only_named():
    shown = doctor.environment(
        {
            "HF_TOKEN": "hf_secret",
            "WANDB_API_KEY": "secret",
            "HF_ENDPOINT": "https://me:secret@hub",
            "JAX_PLATFORMS": "cpu",
            "XDG_CACHE_HOME": str(Path.home() / "cache"),
            "SHELL": "bash",
        }
    ).facts
    hidden = dict.fromkeys(("HF_ENDPOINT", "HF_TOKEN", "WANDB_API_KEY"), "set, not shown")
    assert shown == {**hidden, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": "~/cache"}


def test_half_of_an_address_of_the_other_processes_is_a_problem():
    (problem,) = doctor.environment({"JAX_NUM_PROCESSES": "2"}).problems
    assert "go together" in problem


def test_a_cache_is_counted_without_what_it_links_to(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "easydel" / "tokens"
    folder.mkdir(parents=True)
    (folder / "a.npz").write_bytes(b"x" * 1500)
    (folder / "b.npz").symlink_to(folder / "a.npz")
    facts = doctor.folders().facts
    assert facts["token ids"].endswith("easydel/tokens: 1.5 kB in 1 files")
    assert facts["reference"].endswith("none yet")


def test_the_doctor_imports_no_jax_of_its_own():
    code = "import sys; from easydel.scripts import doctor; doctor.environment(); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
