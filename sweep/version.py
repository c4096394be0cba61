"""The version that a study records beside its results."""

__version__ = "0.1.0"
