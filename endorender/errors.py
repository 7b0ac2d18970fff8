"""What a user can get wrong, said in one line with the way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend. The command line prints it as one line and exits with 2.

    `code` is stable and documented, for programs that wrap endorender.
    """

    code = "USER_ERROR"

    def __init__(self, message: str, code: str | None = None):
        # What a file or a user wrote can stand in it: line ends, escape sequences, half a surrogate pair, which no
        # encoding holds, and pydantic encodes what its validators raise.
        super().__init__(plain(re.sub(r"\s*[\r\n]\s*", " ", message)))
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return type(self), (str(self), self.code)  # for other processes


class Notice(UserWarning):
    """Something that a user should know and may live with. The command line prints it as one line and goes on."""


def interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C stands behind an error.

    pydantic makes an error of its own of whatever is raised while it calls Python; as JSON only its words tell of what.
    """
    seen: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in seen:
        of_pydantic = type(behind).__name__ == "PydanticSerializationError"
        if isinstance(behind, KeyboardInterrupt) or (of_pydantic and "KeyboardInterrupt" in str(behind)):
            return True
        seen.append(behind)
        behind = behind.__cause__ or behind.__context__
    return False


def plain(text: object) -> str:
    """Text from elsewhere in one line that no terminal acts on and every encoding holds: what cannot be printed, line
    ends and escape sequences among it, is written as Python escapes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def readable(word: str) -> str:
    """A word of the command line as text: under an ASCII locale what lies beyond it arrives as surrogates (PEP 383)."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def hint(name: object, known: Iterable[object]) -> str:
    """` (did you mean 'gamma'?)` for the known name nearest to a mistyped one, empty where none is near."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def unknown(what: str, name: object, known: Iterable[object]) -> str:
    """`no light is called 'spt' (did you mean 'spot'?); there are: disk, spot`."""
    names = list(known)
    return f"no {what} is called {name!r}{hint(name, names)}; there are: {', '.join(map(str, names))}"
