"""Errors whose message is one line that says what to do."""


class ExtractError(Exception):
    """Something failed; the message says what to do about it."""


class UsageError(ExtractError):
    """The call was wrong: unknown model, unusable file, options that do not fit."""
