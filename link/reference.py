"""The wire format for others than Python: the tables of ``docs/protocol.md``, and the constants of a C header.

Both follow from :mod:`heddle.link.protocol`; ``make protocol`` writes them, and a test asserts that they are of today.
"""

import ast
import inspect
import textwrap
from enum import IntEnum
from pathlib import Path

from heddle.link import protocol
from heddle.link.protocol import (
    CHECK_BYTES,
    COUNTERS_BYTES,
    ESCAPE,
    FLAG,
    FLIP,
    HEADER_BYTES,
    MAGIC,
    REFUSED,
    REPLY,
    VERSION,
    Kind,
    Refusal,
)

HEADER = "heddle_protocol.h"
_MADE = {
    "protocol.md": ("<!-- made by link/reference.py -->", "<!-- end -->"),
    HEADER: ("/* made by link/reference.py */", "/* end */"),
}
"""What stands around the part of each file that follows from the definition; the rest is written by hand."""


def constants() -> dict[str, tuple[int, str]]:
    """Return the format's constants, and what each is."""
    return {
        "VERSION": (VERSION, "of the protocol"),
        "FLAG": (FLAG, "before and after each frame"),
        "ESCAPE": (ESCAPE, "before a byte that equals FLAG or ESCAPE"),
        "FLIP": (FLIP, "what such a byte is combined with by exclusive or"),
        "REPLY": (REPLY, "set in the kind of a reply"),
        "REFUSED": (REFUSED, "kind of a reply that says why not"),
        "HEADER_BYTES": (HEADER_BYTES, "kind and sequence number"),
        "CHECK_BYTES": (CHECK_BYTES, "CRC-32, low byte first"),
        "IDENTITY_BYTES": (protocol.IDENTITY_BYTES, "of an identity before its packets"),
        "PACKET_BYTES": (protocol.PACKET_BYTES, "of each packet in an identity"),
        "COUNTERS_BYTES": (COUNTERS_BYTES, "of counters"),
    }


def described(enum: type[IntEnum]) -> dict[str, tuple[int, str]]:
    """Return an enumeration's members: value, and the docstring below each, on one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(enum))).body
    assert isinstance(tree, ast.ClassDef)
    words = {}
    for member, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            (target,) = member.targets
            assert isinstance(target, ast.Name)
            words[target.id] = " ".join(str(text.value.value).replace(":class:", "").replace("`", "").split())
    return {member.name: (member.value, words[member.name]) for member in enum}


def tables() -> str:
    """Return the tables of the documentation."""
    parts = []
    for title, rows in (("constant", constants()), ("request", described(Kind)), ("refusal", described(Refusal))):
        lines = [f"| {title} | value | what |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {value} (0x{value:02x}) | {what} |" for name, (value, what) in rows.items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def defines() -> str:
    """Return the constants of the C header."""
    rows = [
        *((name, value, what) for name, (value, what) in constants().items()),
        *((f"KIND_{name}", value, what) for name, (value, what) in described(Kind).items()),
        *((f"REFUSAL_{name}", value, what) for name, (value, what) in described(Refusal).items()),
    ]
    lines = [f"#define HEDDLE_{name} 0x{value:02x}u /* {what} */" for name, value, what in rows]
    return "\n".join([*lines, f'#define HEDDLE_MAGIC "{MAGIC.decode()}" /* the first bytes of an identity */'])


def update(name: str, text: str) -> str:
    """Return the ``text`` of the file ``name`` with the tables, or the constants, of today.

    Raises
    ------
    ValueError
        The marks around them are not there.
    """
    begin, end = _MADE[name]
    before, first, rest = text.partition(f"{begin}\n")
    _, last, after = rest.partition(f"\n{end}\n")
    if not first or not last:
        raise ValueError(f"{name} has no part between {begin} and {end}")
    made = defines() if name == HEADER else tables()
    return f"{before}{first}{made}{last}{after}"


def main() -> None:
    """Update both files of the checkout that this module is in."""
    root = Path(__file__).resolve().parents[1]
    for path in (root / "docs" / "protocol.md", root / "link" / HEADER):
        path.write_text(update(path.name, path.read_text()))


if __name__ == "__main__":
    main()
