"""What can be wrong with a trial's model, data, device or settings. Torch-free and picklable."""


class TrialsError(Exception):
    """Root of this room's errors: the message says what is wrong, what was given and what is allowed."""


class ConfigError(TrialsError):
    """A training field has a value that it cannot have."""


class MemoryShortError(TrialsError):
    """A run needs more memory than the device has, at its smallest."""


class DataError(TrialsError):
    """A data set cannot be read, or has no rows that can be used."""


class ModelError(TrialsError):
    """A base model cannot be found or loaded, or has no module that a target set names."""


class AdapterError(TrialsError):
    """An adapter is damaged, or in a form that is not loaded."""


class DeviceError(TrialsError):
    """A device that was asked for is not there."""
