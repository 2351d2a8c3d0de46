"""What may be shown: text, nothing to obey. What a run wrote may hold anything."""


def printable(text: str) -> str:
    r"""Escape, as JSON does, what a screen would obey or could not show; lines stay lines.

    Example:
        >>> print(printable("opt.lr\x1b[2J, \xfc"))
        opt.lr\u001b[2J, ü
    """
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    pair = c.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pair[at : at + 2].hex()}" for at in range(0, len(pair), 2))
