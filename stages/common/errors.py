"""The one exception for a user's mistake: its message is the single line that the user reads."""


class UserError(Exception):
    """Bad input, bad parameters or a missing file: shown as one line without a traceback, exit status 1."""
