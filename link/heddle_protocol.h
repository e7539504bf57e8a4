/* The host link of a Heddle accelerator: constants, CRC and framing, for a host that has no Python.
 *
 * Constants are made from link/protocol.py. C99 and C++; no allocation, no library beyond the headers below.
 * docs/protocol.md says what passes over the line.
 */
#ifndef HEDDLE_PROTOCOL_H
#define HEDDLE_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

/* made by link/reference.py */
#define HEDDLE_VERSION 0x01u /* of the protocol */
#define HEDDLE_FLAG 0x7eu /* before and after each frame */
#define HEDDLE_ESCAPE 0x7du /* before a byte that equals FLAG or ESCAPE */
#define HEDDLE_FLIP 0x20u /* what such a byte is combined with by exclusive or */
#define HEDDLE_REPLY 0x80u /* set in the kind of a reply */
#define HEDDLE_REFUSED 0xffu /* kind of a reply that says why not */
#define HEDDLE_HEADER_BYTES 0x02u /* kind and sequence number */
#define HEDDLE_CHECK_BYTES 0x04u /* CRC-32, low byte first */
#define HEDDLE_IDENTITY_BYTES 0x48u /* of an identity before its packets */
#define HEDDLE_PACKET_BYTES 0x10u /* of each packet in an identity */
#define HEDDLE_COUNTERS_BYTES 0x14u /* of counters */
#define HEDDLE_KIND_IDENTIFY 0x01u /* What the device is; answered with an Identity. */
#define HEDDLE_KIND_INFER 0x02u /* Run the network. Payload: the input packets, one behind another; the reply's: the output packets. */
#define HEDDLE_KIND_COUNTERS 0x03u /* Cycles and counts so far; answered with Counters. */
#define HEDDLE_KIND_RESET 0x04u /* Drop what is under way, and set all counters to zero. */
#define HEDDLE_REFUSAL_DAMAGED 0x01u /* The frame's CRC is wrong, or it is too short to have one. */
#define HEDDLE_REFUSAL_KIND 0x02u /* There is no such request. */
#define HEDDLE_REFUSAL_LENGTH 0x03u /* The payload is too short or too long for the request. */
#define HEDDLE_MAGIC "HDDL" /* the first bytes of an identity */
/* end */

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
