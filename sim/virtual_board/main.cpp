// A board in simulation: a design's gateware, its serial line on a pseudo-terminal.
//
// Arguments: clocks of link_clk in a bit of the line, which need not be whole; clocks of link_clk in one of clk; clocks
// of clk that the device may need to answer. Prints the terminal's name, and ends when standard input does.
//
// Time passes only while something happens: when the line has been quiet for longer than an answer takes, the process
// sleeps until a byte comes.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include "Vshell.h"
#include "verilated.h"

// Legacy hook of the library; time is not used.
double sc_time_stamp() { return 0; }

namespace {

constexpr int BITS = 10;           // of a byte on the line: start, eight of data, stop
constexpr int RESET_CLOCKS = 16;   // of clk
constexpr int START_CLOCKS = 1024; // of clk, until a device has reset itself
constexpr int LOOK_CLOCKS = 2000;  // of link_clk, between two looks at the terminal
constexpr size_t CHUNK = 4096;     // bytes taken from the terminal at a time

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

// The terminal's end of this process. The other end stays open, so that a client that leaves closes nothing.
int open_terminal() {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) fail("pseudo-terminal");
    const char* name = ptsname(master);
    const int slave = name ? open(name, O_RDWR | O_NOCTTY) : -1;
    termios raw;
    if (slave < 0 || tcgetattr(slave, &raw)) fail("pseudo-terminal");
    cfmakeraw(&raw);
    if (tcsetattr(slave, TCSANOW, &raw) || fcntl(master, F_SETFL, O_NONBLOCK)) fail("pseudo-terminal");
    std::printf("%s\n", name);
    std::fflush(stdout);
    return master;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s BIT_CLOCKS CLOCK_RATIO ANSWER_CLOCKS\n", argv[0]);
        return 2;
    }
    const double bit_clocks = std::atof(argv[1]);
    const int byte_clocks = std::ceil(BITS * bit_clocks), ratio = std::atoi(argv[2]);
    const uint64_t patience = std::strtoull(argv[3], nullptr, 10) * ratio;
    const int terminal = open_terminal();
    VerilatedContext context;
    Vshell shell{&context};

    std::string incoming, outgoing;
    size_t taken = 0;             // bytes of `incoming` that are on the line or were
    int left = 0, sent = 0;       // to the device: clocks of the byte that are left, and its bits with start and stop
    int since = -1, received = 0; // from the device: clocks since the start bit began, and the byte's bits
    uint64_t quiet = 0;           // clocks without anything on the line

    shell.rst = 1;
    shell.rx = 1;
    shell.clk = shell.link_clk = 0;
    for (uint64_t clock = 0;; clock++) {
        // Of 2 * ratio halves of link_clk in one of clk the first half is high; clk rises where link_clk falls.
        const uint64_t phase = clock % ratio;
        shell.clk = 2 * phase < static_cast<uint64_t>(ratio);
        if (clock == static_cast<uint64_t>(RESET_CLOCKS) * ratio) shell.rst = 0;
        shell.link_clk = 0;
        shell.eval();

        if (!left && taken < incoming.size()) {
            sent = (1 << (BITS - 1)) | static_cast<unsigned char>(incoming[taken++]) << 1;
            left = byte_clocks;
        }
        if (left) {
            shell.rx = sent >> static_cast<int>((byte_clocks - left) / bit_clocks) & 1;
            left--;
            quiet = 0;
        } else {
            shell.rx = 1;
        }
        shell.clk = 2 * phase + 1 < static_cast<uint64_t>(ratio);
        shell.link_clk = 1;
        shell.eval();

        if (since < 0 && !shell.tx) since = received = 0;
        if (since >= 0) {
            quiet = 0;
            // In the middle of each bit.
            const int bit = since / bit_clocks;
            if (since == static_cast<int>((bit + 0.5) * bit_clocks)) received |= shell.tx << bit;
            if (++since == static_cast<int>((BITS - 0.25) * bit_clocks)) {
                outgoing += static_cast<char>(received >> 1);
                since = -1;
            }
        }
        quiet++;

        // What comes while the device is in reset would be lost.
        if (clock < static_cast<uint64_t>(START_CLOCKS) * ratio) continue;
        const bool rests = quiet > patience && taken == incoming.size();
        if (!rests && clock % LOOK_CLOCKS) continue;
        // As on a line: what nobody takes is lost.
        if (!outgoing.empty() && write(terminal, outgoing.data(), outgoing.size()) < 0) std::perror("terminal");
        outgoing.clear();
        pollfd looked[] = {{STDIN_FILENO, POLLIN, 0}, {terminal, POLLIN, 0}};
        const nfds_t count = taken == incoming.size() ? 2 : 1;
        if (poll(looked, count, rests ? -1 : 0) < 0) fail("poll");
        char bytes[CHUNK];
        if (looked[0].revents && read(STDIN_FILENO, bytes, CHUNK) <= 0) return 0;
        if (count == 2 && looked[1].revents & POLLIN) {
            const ssize_t got = read(terminal, bytes, CHUNK);
            incoming.assign(bytes, got > 0 ? got : 0);
            taken = 0;
        }
    }
}
