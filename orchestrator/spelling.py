"""The nearest of the words that are allowed: how `did you mean` is found."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 128  # letters of a word that is worth the work


def nearest(word: str, allowed: Iterable[object]) -> str | None:
    """The closest spelling among the allowed ones, if one is close: a third of its letters may be wrong.

    Case does not count, nor whether words are joined by - or _. A word with more to it than an allowed one
    (learning_rate for rate), or with less (optim for optimizer), is close to it too.
    """
    names = [str(a) for a in allowed]
    plain = _plain(word)
    if not plain or len(plain) > LONGEST:
        return None
    far = {name: _distance(plain, _plain(name)) for name in names}
    close = [n for n in names if far[n] <= (len(plain) + 2) // 3 and far[n] < max(len(plain), len(_plain(n)))]
    if close:
        # of equally close ones the same letters in another order, then the same first letter
        return min(close, key=lambda n: (far[n], sorted(_plain(n)) != sorted(plain), _plain(n)[:1] != plain[:1]))
    parts = plain.split("_")
    whole = [n for n in names if _plain(n) in parts or (len(plain) > 2 and _plain(n).startswith(plain))]
    return max(whole, key=len) if whole else None


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_").strip()


def _distance(a: str, b: str) -> int:
    """Letters to insert, drop or replace, or neighbours to swap, to make b of a (optimal string alignment)."""
    before, last = [0], list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and (x, a[i - 2]) == (b[j - 2], y):
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
