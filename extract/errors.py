"""Errors whose message is one line that says what to do."""


class ExtractError(Exception):
    """Something failed; the message says what to do about it."""


class UsageError(ExtractError):
    """The call was wrong: unknown model, unusable file, options that do not fit."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory ran out."""
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")
    return any(sign in text for sign in signs)
