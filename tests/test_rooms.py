"""What the rooms may load: the coordinator and the command line never import torch."""

import subprocess
import sys

from spaces import drafting
from sweep.plan import KNOBS
from trials import config

HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate")


def _loaded_by(statement: str, modules: tuple[str, ...] = HEAVY) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(name for name in {modules!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_coordinator_never_loads_torch() -> None:
    modules = ["cli", "commands", "sweeper", "objective", "export", "serve", "launchers.registry", "diagnose_command"]
    modules += ["diagnosis_plots", "sanity_command"]
    assert _loaded_by(f"import {', '.join('sweep.' + module for module in modules)}") == set()


def test_spaces_and_the_light_part_of_trials_load_no_torch() -> None:
    plain = ("config", "report", "curve", "errors", "protocol", "schedule", "folders", "paths")
    light = (
        *plain,
        "rows",
        "layout",
        "default_data",
        "diagnosis",
        "logs",
        "log_settings",
        "row_checks",
        "token_checks",
    )
    assert _loaded_by(f"import spaces.load, {', '.join('trials.' + module for module in light)}") == set()


def test_the_help_loads_neither_optuna_nor_plots() -> None:
    code = (
        "import sweep.cli, sys; print([name for name in ('optuna', 'matplotlib', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_spaces_knows_every_training_field_as_one() -> None:
    assert {*config.FIELDS, *KNOBS} <= set(drafting.FIELDS)
