"""What a user can get wrong in a space file."""


class SpaceError(Exception):
    """A space, or a knob of it, is not what it should be: the message says what, given and allowed."""
