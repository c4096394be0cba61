"""The sampler: Optuna's TPE, seeded so that a trial's draw does not depend on which thread makes it."""

import copy
import math
import threading
import warnings
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweep.contenders import contender, direction_sign, is_parked
from sweep.projection import project

# Random trials before TPE models anything: Optuna's default for long studies, a third of a short one.
MOST_STARTUP_TRIALS = 10
LEAST_STARTUP_TRIALS = 4


class SeededTPE(BaseSampler):
    """Multivariate, grouped TPE with a random generator of its own for every trial, made from seed and number.

    Optuna gives each parallel job a random generator, which forgets the seed. Here the random draws of a trial
    depend on the seed and its number alone; also after a resume, and with any number of slots. A trial that is parked
    or was pruned counts by where it is heading: TPE alone does not see the one, and takes the other by its last value.

    Attributes:
        ranges: Ranges as they are now. Grouped TPE draws a knob from the first range that it ever had, so that one that
            grew would never be drawn from where it is new.
    """

    def __init__(self, seed: int, n_trials: int) -> None:
        self._seed = seed
        self._startup = max(LEAST_STARTUP_TRIALS, min(MOST_STARTUP_TRIALS, n_trials // 3))
        self._local = threading.local()
        self.ranges: Mapping[str, BaseDistribution] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Makes this trial's generator; Optuna asks and suggests in one thread."""
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        self._local.sampler = self._make(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As TPE does, with the ranges of now."""
        inferred = self._sampler.infer_relative_search_space(_headed(study), trial)
        group = self._sampler._search_space_group
        if not self.ranges or group is None:
            return inferred
        found = {}
        for knobs in group.search_spaces:
            for name in sorted(knobs):
                knobs[name] = self.ranges.get(name, knobs[name])
                if not knobs[name].single():
                    found[name] = knobs[name]
        return found

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE does."""
        return self._sampler.sample_relative(_headed(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As TPE does."""
        return self._sampler.sample_independent(_headed(study), trial, param_name, param_distribution)

    @property
    def _sampler(self) -> TPESampler:
        sampler: TPESampler | None = getattr(self._local, "sampler", None)
        if sampler is None:  # asked outside a trial
            sampler = self._local.sampler = self._make(self._seed)
        return sampler

    def _make(self, seed: int) -> TPESampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return TPESampler(
                n_startup_trials=self._startup,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=seed,
            )


def _headed(study: Study) -> Study:
    """The study as TPE should see it."""
    return _HeadedStudy(study)  # type: ignore[return-value]


class _HeadedStudy:
    """A study in which each parked and each pruned trial is complete, at where its curve is heading."""

    def __init__(self, study: Study) -> None:
        self._study, self._sign = study, direction_sign(study)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy=deepcopy, states=None, use_cache=use_cache)
        shown = (self._shown(trial) for trial in trials)
        return [trial for trial in shown if states is None or trial.state in states]

    def _shown(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.state != TrialState.PRUNED and not is_parked(trial):
            return trial
        seen = contender(trial, max(1, len(trial.intermediate_values)), 0, self._sign)
        if not seen.losses or not seen.sound:
            return trial
        heading = project(seen.losses, seen.progress, seen.start)
        # A whole deviation above it: what is known must come before what is hoped.
        hoped = heading.loss + heading.error
        shown = copy.copy(trial)
        shown.state = TrialState.COMPLETE
        shown.values = [self._sign * (min(seen.reached, hoped) if math.isfinite(hoped) else seen.reached)]
        return shown
