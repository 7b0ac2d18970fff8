"""What a user can get wrong, said in one line with the way out."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend. The command line prints it as one line and exits with 2.

    `code` is stable and documented, for programs that wrap endorender.
    """

    code = "USER_ERROR"

    def __init__(self, message: str, code: str | None = None):
        super().__init__(message)
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return type(self), (str(self), self.code)  # for other processes


class Notice(UserWarning):
    """Something that a user should know and may live with. The command line prints it as one line and goes on."""
