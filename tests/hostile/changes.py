"""JSON with some part replaced by anything, or left out."""

import random
from typing import Any

_ANYTHING = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        7,
        10**9,
        10**30,
        -(10**20),
        0.5,
        1e308,
        "",
        "x",
        "\x1b[31m",
        "0",
    ),
    *([], [1], ["x"], [[]], [None], {}, {"x": 1}, {"": {}}, "../x", "/", "é\ud800", "a" * 10**5),
)


def changed(value: Any, draw: random.Random) -> tuple[Any, str]:
    """The value with one part changed, and which."""
    holder, keys = value, []
    while True:
        key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
        keys.append(key)
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.35:
            break
        holder = inner
    where = ".".join(map(str, keys))
    how = draw.random()
    if how < 0.25:
        del holder[keys[-1]]
        return value, f"{where} left out"
    if how < 0.35 and isinstance(holder, list):
        holder.append(inner)
        return value, f"{where} twice"
    holder[keys[-1]] = draw.choice(_ANYTHING)
    return value, f"{where} = {str(holder[keys[-1]])[:40]!r}"
