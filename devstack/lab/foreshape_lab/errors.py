"""The lab's own errors."""


class LabError(Exception):
    """The bed cannot do what was asked; the text says what to do."""


class Missing(LabError):
    """The machine lacks something; the text names the Debian packages or the right that is needed."""
