"""Where Hydra looks for launchers and sweepers: it takes no others than those of this package."""

from markgraph.launching.joblib_launcher import Joblib
from markgraph.launching.optuna_sweeper import Optuna
from markgraph.launching.ray_launcher import Ray
from markgraph.launching.slurm_launcher import Slurm


class JoblibLauncher(Joblib):
    """Several jobs at a time on this machine."""


class OptunaSweeper(Optuna):
    """Settings chosen by what those before them came to."""


class RayLauncher(Ray):
    """Jobs on a Ray cluster."""


class SlurmLauncher(Slurm):
    """Jobs on a SLURM cluster."""
