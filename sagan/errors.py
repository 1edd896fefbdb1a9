"""The one exception that a user, rather than a programmer, is meant to read."""


class SaganError(Exception):
    """Something the user gave cannot be used.

    The message is one line that says what is wrong, where, and how to mend it. The command line
    prints it and exits with status 2; library callers may catch it as one family.
    """
