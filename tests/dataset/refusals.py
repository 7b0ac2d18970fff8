"""What a refusal is: a coded error of one line."""

import pytest

from endorender.errors import UserError


def refusal(code, act, *args, **kwargs):
    with pytest.raises(UserError) as error:
        act(*args, **kwargs)
    assert error.value.code == code
    assert "\n" not in str(error.value)
    return str(error.value)
