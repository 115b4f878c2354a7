"""The one exception type of this package."""


class WebGPUError(RuntimeError):
    """Something went wrong in a way worth one sentence to the user.

    `str(error)` is that sentence: what failed, where, and with which value.
    """
