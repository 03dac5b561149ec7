"""The command's own errors: a sentence an operator can act on, and the exit code that scripts test."""

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_NOT_PERMITTED = 4


class CliError(Exception):
    """Anything that ends a command without its answer."""

    exit_code = EXIT_ERROR


class UsageError(CliError):
    """The words on the command line make no sense together."""

    exit_code = EXIT_USAGE


class Unreachable(CliError):
    """No controller answers there."""

    exit_code = EXIT_UNREACHABLE


class NotPermitted(CliError):
    """The controller does not know this token, or does not allow this."""

    exit_code = EXIT_NOT_PERMITTED
