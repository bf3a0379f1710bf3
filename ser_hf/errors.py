"""The base of this package's errors."""


class SerHfError(ValueError):
    """What a user can put right: arguments, data or files; the message says what is wrong and what to do."""
