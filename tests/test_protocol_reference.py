"""What follows from the wire format's definition: the documentation's tables, and the C header as compilers take it."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from source_tree import ROOT

from heddle.link.protocol import ESCAPE, FLAG, Decoder, Frame
from heddle.link.reference import HEADER, update

LIMIT = 40
PROGRAM = r"""
#include <stdio.h>
#include "heddle_protocol.h"

/* "e": frames, as kind, sequence, size and payload, to the line; "d": the line to frames. */
int main(int argc, char **argv) {
    uint8_t payload[LIMIT], line[HEDDLE_FRAME_BYTES(LIMIT)], body[HEDDLE_HEADER_BYTES + LIMIT + HEDDLE_CHECK_BYTES];
    heddle_decoder decoder = {0, 0, 0, 0, 0};
    size_t size = 0;
    int byte;
    decoder.body = body;
    decoder.room = sizeof body;
    if (argc == 2 && argv[1][0] == 'e') {
        uint8_t head[3];
        while (fread(head, 1, 3, stdin) == 3) {
            size = fread(payload, 1, head[2], stdin);
            fwrite(line, 1, heddle_encode(line, head[0], head[1], payload, size), stdout);
        }
        return 0;
    }
    while ((byte = getchar()) != EOF)
        if (heddle_decode(&decoder, (uint8_t)byte, &size)) {
            printf("%d %d ", body[0], body[1]);
            for (size_t i = 0; i < size; i++) printf("%02x", body[HEDDLE_HEADER_BYTES + i]);
            printf("\n");
        }
    printf("damaged %u\n", (unsigned)decoder.damaged);
    return 0;
}
"""


C_HEADER = ROOT / "link" / HEADER


def test_the_page_and_the_header_are_those_of_the_protocol() -> None:
    page, header = (ROOT / "docs" / "protocol.md").read_text(), C_HEADER.read_text()
    assert update("protocol.md", page) == page, "run make protocol"
    assert update(HEADER, header) == header, "run make protocol"
    assert "| `INFER` | 2 (0x02) | Run the network." in page
    assert update("protocol.md", page.replace("0x02", "0x03")) == page
    assert "\n#define HEDDLE_KIND_INFER 0x02u /* Run the network." in header
    assert update(HEADER, header.replace("0x02u", "0x03u")) == header


@pytest.mark.parametrize("mark", ["made by link/reference.py", "/* end */"])
def test_a_file_without_its_marks_is_not_rewritten(mark: str) -> None:
    with pytest.raises(ValueError, match="has no part between"):
        update(HEADER, C_HEADER.read_text().replace(mark, ""))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    shutil.copy(C_HEADER, folder)
    (folder / "talk.c").write_text(PROGRAM)
    strict = ["-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic", f"-DLIMIT={LIMIT}"]
    for compiler in (["gcc", "-std=c99"], ["g++", "-std=c++11", "-x", "c++"]):
        subprocess.run([*compiler, *strict, "talk.c", "-o", compiler[0]], cwd=folder, check=True)
    return folder


def run(program: Path, mode: str, data: bytes) -> bytes:
    outputs = {subprocess.run([program / name, mode], input=data, capture_output=True, check=True).stdout
               for name in ("gcc", "g++")}  # fmt: skip
    (output,) = outputs
    return output


def frames(rng: random.Random, count: int) -> list[Frame]:
    special = (FLAG, ESCAPE, 0, 255)
    return [
        Frame(
            kind=rng.choice((*special, 2, 0x82)),
            sequence=rng.randrange(256),
            payload=bytes(rng.choice((*special, rng.randrange(256))) for _ in range(rng.randrange(LIMIT + 1))),
        )
        for _ in range(count)
    ]


def test_what_c_encodes_python_decodes(program: Path) -> None:
    sent = frames(random.Random(1), 300)
    line = run(program, "e", b"".join(bytes((f.kind, f.sequence, len(f.payload))) + f.payload for f in sent))
    assert line == b"".join(frame.encode() for frame in sent)
    assert list(Decoder(LIMIT).feed(line)) == sent


def test_c_finds_the_frames_that_python_finds_in_any_noise(program: Path) -> None:
    rng = random.Random(2)
    line = bytearray()
    for frame in frames(rng, 600):
        data = bytearray(frame.encode())
        match rng.randrange(5):
            case 0:
                del data[rng.randrange(len(data))]
            case 1:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 2:
                data += rng.randbytes(rng.randrange(60))
            case _:
                pass
        line += data
    decoder = Decoder(LIMIT)
    expected = [f"{f.kind} {f.sequence} {f.payload.hex()}" for f in decoder.feed(line)]
    *got, damaged = run(program, "d", bytes(line)).decode().splitlines()
    assert got == expected
    assert damaged == f"damaged {decoder.damaged}"
    assert len(expected) > 200
    assert decoder.damaged > 100
