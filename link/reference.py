"""The wire format for others than Python: the tables of ``docs/protocol.md``, and a C header for a small host.

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

BEGIN, END = "<!-- made by link/reference.py -->", "<!-- end -->"
HEADER = "heddle_protocol.h"


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


def c_header() -> str:
    """Return the C header: constants, CRC, framing."""
    rows = [
        *((name, value, what) for name, (value, what) in constants().items()),
        *((f"KIND_{name}", value, what) for name, (value, what) in described(Kind).items()),
        *((f"REFUSAL_{name}", value, what) for name, (value, what) in described(Refusal).items()),
    ]
    defines = "\n".join(f"#define HEDDLE_{name} 0x{value:02x}u /* {what} */" for name, value, what in rows)
    return _C.replace("@DEFINES@", defines).replace("@MAGIC@", MAGIC.decode())


def update(page: str) -> str:
    """Return the documentation's ``page`` with the tables of today."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main() -> None:
    """Write both files of the checkout that this module is in."""
    root = Path(__file__).resolve().parents[1]
    page = root / "docs" / "protocol.md"
    page.write_text(update(page.read_text()))
    (root / "link" / HEADER).write_text(c_header())


_C = """\
/* The host link of a Heddle accelerator: constants, CRC and framing, for a host that has no Python.
 *
 * Made by link/reference.py from link/protocol.py. C99 and C++; no allocation, no library beyond the headers below.
 * docs/protocol.md says what passes over the line.
 */
#ifndef HEDDLE_PROTOCOL_H
#define HEDDLE_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

@DEFINES@
#define HEDDLE_MAGIC "@MAGIC@" /* the first bytes of an identity */

/* Bytes that a frame with so many bytes of payload takes on the line, at most. */
#define HEDDLE_FRAME_BYTES(payload) (2u + 2u * (HEDDLE_HEADER_BYTES + HEDDLE_CHECK_BYTES + (size_t)(payload)))

/* CRC-32 (IEEE 802.3) of `size` bytes behind those whose CRC is `crc`; 0 to begin with. */
static inline uint32_t heddle_crc32(uint32_t crc, const uint8_t *data, size_t size) {
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1u ? 0xEDB88320u : 0u);
    }
    return ~crc;
}

/* Write bytes of a frame to `out`, escaped; return how many. */
static inline size_t heddle_escape(uint8_t *out, const uint8_t *data, size_t size) {
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        const int special = data[i] == HEDDLE_FLAG || data[i] == HEDDLE_ESCAPE;
        if (special) out[count++] = HEDDLE_ESCAPE;
        out[count++] = special ? (uint8_t)(data[i] ^ HEDDLE_FLIP) : data[i];
    }
    return count;
}

/* Write a whole frame to `out`, which has room for HEDDLE_FRAME_BYTES(size); return how many bytes it has. */
static inline size_t heddle_encode(uint8_t *out, uint8_t kind, uint8_t sequence, const uint8_t *payload, size_t size) {
    const uint8_t header[HEDDLE_HEADER_BYTES] = {kind, sequence};
    uint8_t check[HEDDLE_CHECK_BYTES];
    uint32_t crc = heddle_crc32(heddle_crc32(0, header, sizeof header), payload, size);
    size_t count = 0;
    for (size_t i = 0; i < sizeof check; i++, crc >>= 8) check[i] = (uint8_t)(crc & 0xFFu);
    out[count++] = HEDDLE_FLAG;
    count += heddle_escape(out + count, header, sizeof header);
    count += heddle_escape(out + count, payload, size);
    count += heddle_escape(out + count, check, sizeof check);
    out[count++] = HEDDLE_FLAG;
    return count;
}

/* Finds frames in a stream of bytes. Give `room` bytes at `body`: those of the longest payload expected, and
 * HEDDLE_HEADER_BYTES + HEDDLE_CHECK_BYTES more; all else begins as 0. `damaged` counts what was no whole frame. */
typedef struct {
    uint8_t *body;
    size_t room, count;
    uint32_t damaged;
    uint8_t escaped;
} heddle_decoder;

/* Take a byte. When it completes a frame, return 1: body[0] is its kind, body[1] its sequence number, and `*size` bytes
 * of payload follow. They stay until the next byte is taken. Otherwise return 0. */
static inline int heddle_decode(heddle_decoder *decoder, uint8_t byte, size_t *size) {
    const size_t least = HEDDLE_HEADER_BYTES + HEDDLE_CHECK_BYTES;
    if (byte == HEDDLE_FLAG) {
        const size_t count = decoder->count;
        const int any = count || decoder->escaped;
        int whole = count >= least && count <= decoder->room && !decoder->escaped;
        decoder->count = 0;
        decoder->escaped = 0;
        if (whole) {
            uint32_t crc = heddle_crc32(0, decoder->body, count - HEDDLE_CHECK_BYTES);
            for (size_t i = count - HEDDLE_CHECK_BYTES; i < count; i++, crc >>= 8)
                whole = whole && decoder->body[i] == (crc & 0xFFu);
        }
        if (any && !whole) decoder->damaged++;
        if (whole) *size = count - least;
        return whole;
    }
    if (byte == HEDDLE_ESCAPE) {
        decoder->escaped = 1;
        return 0;
    }
    /* One more than there is room for: enough to know. */
    if (decoder->count < decoder->room)
        decoder->body[decoder->count] = decoder->escaped ? (uint8_t)(byte ^ HEDDLE_FLIP) : byte;
    if (decoder->count <= decoder->room) decoder->count++;
    decoder->escaped = 0;
    return 0;
}

#endif
"""

if __name__ == "__main__":
    main()
