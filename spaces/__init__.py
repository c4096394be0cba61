"""Search spaces: what may be tried. Knows YAML, parameters and conditions; no torch, no Optuna."""
