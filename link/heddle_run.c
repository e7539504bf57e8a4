/* A host in C for one accelerator: opens its serial port, checks what is there, sends samples, prints what comes back.
 *
 *     cc -O2 -o heddle_run heddle_run.c
 *     ./heddle_run /dev/ttyUSB0 ../vectors/inputs.bin ../vectors/outputs.bin
 *
 * C99 and POSIX; no allocation. heddle_design.h says what the accelerator is: it comes with the bitstream.
 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* rates above 38400 baud, flock */
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/select.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "heddle_design.h"
#include "heddle_protocol.h"

#define TRIES 5u /* requests can be repeated, each time under a new number */
#define MORE(a, b) ((a) > (b) ? (a) : (b))
#define IDENTITY_MOST (HEDDLE_IDENTITY_BYTES + HEDDLE_PACKET_BYTES * 255u)
#define REPLY_MOST MORE(IDENTITY_MOST, HEDDLE_DESIGN_OUTPUT_BYTES)
#define REPLY_FRAME HEDDLE_FRAME_BYTES(REPLY_MOST)
#define LINE_SECONDS(bytes) (10.0 * (double)(bytes) / HEDDLE_DESIGN_BAUD) /* a start bit, eight, a stop bit */

static const struct {
    long baud;
    speed_t speed;
} SPEEDS[] = {
    {9600, B9600},       {19200, B19200},     {38400, B38400},
#ifdef B57600
    {57600, B57600},
#endif
#ifdef B115200
    {115200, B115200},
#endif
#ifdef B230400
    {230400, B230400},
#endif
#ifdef B460800
    {460800, B460800},
#endif
#ifdef B500000
    {500000, B500000},
#endif
#ifdef B921600
    {921600, B921600},
#endif
#ifdef B1000000
    {1000000, B1000000},
#endif
#ifdef B1500000
    {1500000, B1500000},
#endif
#ifdef B2000000
    {2000000, B2000000},
#endif
#ifdef B3000000
    {3000000, B3000000},
#endif
#ifdef B4000000
    {4000000, B4000000},
#endif
};

static const char *where;

static int fail(const char *fact, const char *remedy) {
    fprintf(stderr, "heddle_run: %s: %s; %s\n", where, fact, remedy);
    return -1;
}

/* Open a serial port for this program alone, 8 data bits, no parity, no flow control; -1 if that is not possible. */
static int open_port(const char *name, long baud) {
    struct termios line;
    size_t index = 0;
    const size_t count = sizeof SPEEDS / sizeof SPEEDS[0];
    int port;
    while (index < count && SPEEDS[index].baud != baud) index++;
    if (index == count) return fail("this system has no such baud rate", "build with --baud 115200");
    /* Without O_NONBLOCK a port may wait for a carrier that no board has. */
    port = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (port < 0) return fail(strerror(errno), "name a serial port that exists and that you may open");
    if (flock(port, LOCK_EX | LOCK_NB)) return close(port), fail("another program uses it", "close that one");
    if (tcgetattr(port, &line)) return close(port), fail("it is no serial port", "name one");
    line.c_iflag = 0;
    line.c_oflag = 0;
    line.c_lflag = 0;
    line.c_cflag = CS8 | CREAD | CLOCAL;
    line.c_cc[VMIN] = 0;
    line.c_cc[VTIME] = 0;
    if (cfsetispeed(&line, SPEEDS[index].speed) || cfsetospeed(&line, SPEEDS[index].speed) ||
        tcsetattr(port, TCSANOW, &line))
        return close(port), fail(strerror(errno), "choose a baud rate that the port has");
    tcflush(port, TCIFLUSH);
    return port;
}

/* Seconds of a clock that only rises. */
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Wait until `end` for the port to take bytes, or else to have some: 1, 0 if the time is over, -1 if it broke. */
static int wait_for(int port, int writing, double end) {
    for (;;) {
        const double left = end - now();
        struct timeval patience;
        fd_set ready;
        int count;
        if (left <= 0) return 0;
        patience.tv_sec = (time_t)left;
        patience.tv_usec = (suseconds_t)((left - (double)patience.tv_sec) * 1e6);
        FD_ZERO(&ready);
        FD_SET(port, &ready);
        count = select(port + 1, writing ? NULL : &ready, writing ? &ready : NULL, NULL, &patience);
        if (count > 0) return 1;
        if (count < 0 && errno != EINTR) return fail(strerror(errno), "check the cable and the board");
    }
}

/* Send it all, within `seconds` and the time that it takes on the line. */
static int send_all(int port, const uint8_t *data, size_t size, long seconds) {
    const double end = now() + (double)seconds + LINE_SECONDS(size);
    while (size) {
        const int ready = wait_for(port, 1, end);
        ssize_t sent;
        if (ready < 0) return -1;
        if (!ready) return fail("the port takes nothing", "check the cable and the board");
        sent = write(port, data, size);
        if (sent < 0 && errno != EINTR && errno != EAGAIN)
            return fail(strerror(errno), "check the cable and the board");
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        }
    }
    return 0;
}

/* Wait for the reply to request `number` of `kind`: 1, 0 if none came until `end`, -1 if there will be none. */
static int receive(int port, heddle_decoder *decoder, uint8_t kind, uint8_t number, double end, size_t *size) {
    uint8_t chunk[256];
    for (;;) {
        const int ready = wait_for(port, 0, end);
        ssize_t count, i;
        if (ready <= 0) return ready;
        count = read(port, chunk, sizeof chunk);
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (count <= 0) return fail("the connection broke", "check the cable and the board");
        for (i = 0; i < count; i++) {
            if (!heddle_decode(decoder, chunk[i], size) || decoder->body[1] != number) continue;
            if (decoder->body[0] == (kind | HEDDLE_REPLY)) return 1;
            if (decoder->body[0] != HEDDLE_REFUSED || *size != 1) continue;
            if (decoder->body[HEDDLE_HEADER_BYTES] == HEDDLE_REFUSAL_DAMAGED) return 0;
            return fail("the device refuses the request", "flash the board with the bitstream beside this program");
        }
    }
}

/* Ask, again if nothing comes. The reply's payload is at decoder->body + HEDDLE_HEADER_BYTES; -1 if there is none. */
static int ask(int port, heddle_decoder *decoder, uint8_t kind, const uint8_t *payload, size_t bytes, long seconds,
               size_t *size) {
    static uint8_t frame[HEDDLE_FRAME_BYTES(HEDDLE_DESIGN_INPUT_BYTES)], number;
    unsigned attempt;
    for (attempt = 0; attempt < TRIES; attempt++) {
        size_t sent;
        int came;
        number++;
        sent = heddle_encode(frame, kind, number, payload, bytes);
        if (send_all(port, frame, sent, seconds)) return -1;
        /* What was written may still be on its way, and the longest reply takes its time too. */
        came = receive(port, decoder, kind, number, now() + (double)seconds + LINE_SECONDS(sent + REPLY_FRAME), size);
        if (came) return came < 0 ? -1 : 0;
    }
    return fail("no answer", "check the port, the cable, and that the board is flashed and has power; or wait longer, -t");
}

static uint32_t number_at(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* Whether the identity is of the network that heddle_design.h is of, with packets of its sizes; -1 if not. */
static int check_identity(const uint8_t *identity, size_t size) {
    static const uint8_t network[32] = HEDDLE_DESIGN_NETWORK;
    const char *remedy = "flash the board with the bitstream beside this program";
    size_t sums[2] = {0, 0}, i, packets;
    if (size < HEDDLE_IDENTITY_BYTES || memcmp(identity, HEDDLE_MAGIC, 4))
        return fail("what answers is no Heddle accelerator", remedy);
    if (identity[4] != HEDDLE_VERSION) return fail("the device speaks another version of the host link", remedy);
    if (memcmp(identity + 8, network, sizeof network)) return fail("the device holds another network", remedy);
    packets = (size_t)identity[5] + identity[6];
    if (size != HEDDLE_IDENTITY_BYTES + packets * HEDDLE_PACKET_BYTES) return fail("its identity is damaged", remedy);
    for (i = 0; i < packets; i++)
        sums[i >= identity[5]] += number_at(identity + HEDDLE_IDENTITY_BYTES + i * HEDDLE_PACKET_BYTES);
    if (sums[0] != HEDDLE_DESIGN_INPUT_BYTES || sums[1] != HEDDLE_DESIGN_OUTPUT_BYTES)
        return fail("the device takes and gives other packets", remedy);
    return 0;
}

/* Send the samples in `inputs`; print the outputs, or compare them with those in `outputs`. */
static int run(int port, heddle_decoder *decoder, FILE *inputs, FILE *outputs, long seconds) {
    static uint8_t sample[HEDDLE_DESIGN_INPUT_BYTES], expected[HEDDLE_DESIGN_OUTPUT_BYTES];
    const uint8_t *reply = decoder->body + HEDDLE_HEADER_BYTES;
    unsigned long count = 0, differing = 0;
    size_t size, read_bytes, i;
    while ((read_bytes = fread(sample, 1, sizeof sample, inputs)) == sizeof sample) {
        if (ask(port, decoder, HEDDLE_KIND_INFER, sample, sizeof sample, seconds, &size)) return -1;
        if (size != HEDDLE_DESIGN_OUTPUT_BYTES) return fail("a reply of another size", "flash the board anew");
        if (!outputs) {
            for (i = 0; i < size; i++) printf("%s%d", i ? " " : "", reply[i] < 128 ? reply[i] : reply[i] - 256);
            printf("\n");
        } else if (fread(expected, 1, sizeof expected, outputs) != sizeof expected) {
            return fail("there are fewer outputs than samples", "give the outputs of these samples");
        } else if (memcmp(reply, expected, sizeof expected)) {
            fprintf(stderr, "heddle_run: sample %lu differs from what is expected\n", count);
            differing++;
        }
        count++;
    }
    if (ferror(inputs) || read_bytes || !count)
        return fail("the samples are no whole number of inputs", "give all input packets of each sample, as int8");
    if (outputs && fgetc(outputs) != EOF) return fail("there are more outputs than samples", "give those of these samples");
    if (outputs) printf("%lu of %lu samples as expected\n", count - differing, count);
    return differing ? -1 : 0;
}

int main(int argc, char **argv) {
    static uint8_t body[HEDDLE_HEADER_BYTES + REPLY_MOST + HEDDLE_CHECK_BYTES];
    static const uint8_t flags[2] = {HEDDLE_FLAG, HEDDLE_FLAG};
    heddle_decoder decoder = {0, 0, 0, 0, 0};
    long seconds = 1;
    FILE *files[2] = {NULL, NULL};
    size_t size = 0;
    int option, usable = 1, i, port, failed;
    while ((option = getopt(argc, argv, "t:")) != -1)
        if (option != 't' || (seconds = strtol(optarg, NULL, 10)) < 1) usable = 0;
    argc -= optind;
    argv += optind;
    if (!usable || argc < 1 || argc > 3) {
        fprintf(stderr, "usage: heddle_run [-t SECONDS] PORT [INPUTS [OUTPUTS]]\n"
                        "INPUTS: samples as int8, all input packets of one behind those of another; OUTPUTS: what is\n"
                        "expected. Without OUTPUTS prints what comes back, a line a sample; without INPUTS only looks\n"
                        "what is at PORT. SECONDS: how long to wait for a reply, beside its time on the line, before\n"
                        "asking again; default 1.\n");
        return 2;
    }
    for (i = 1; i < argc; i++) {
        where = argv[i];
        files[i - 1] = fopen(argv[i], "rb");
        if (!files[i - 1]) return fail(strerror(errno), "name a file of the vectors"), 1;
    }
    where = argv[0];
    decoder.body = body;
    decoder.room = sizeof body;
    port = open_port(argv[0], HEDDLE_DESIGN_BAUD);
    if (port < 0) return 1;
    /* What a program before left on the line is no frame of ours. */
    failed = send_all(port, flags, sizeof flags, seconds) ||
             ask(port, &decoder, HEDDLE_KIND_IDENTIFY, NULL, 0, seconds, &size) ||
             check_identity(body + HEDDLE_HEADER_BYTES, size);
    if (!failed && !files[0]) printf("%s at %s\n", HEDDLE_DESIGN_NAME, argv[0]);
    if (!failed && files[0]) failed = run(port, &decoder, files[0], files[1], seconds);
    close(port);
    for (i = 0; i < 2; i++)
        if (files[i]) fclose(files[i]);
    return failed ? 1 : 0;
}
