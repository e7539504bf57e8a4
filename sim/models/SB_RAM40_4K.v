// Simulation model of iCE40's 4 Kbit block RAM: 256 words of 16 bits, of which a mode of 1, 2 or 3 reads or writes a
// half, a quarter or an eighth. Written after the ports and parameters of yosys' techlibs/ice40 (SB_RAM40_4K) and
// Lattice FPGA-TN-02002 (memory usage of iCE40).
//
// A part of a word of 16 >> MODE bits is spread over all of it: its bit j is bit j << MODE and as many more as the upper
// address bits say. It is taken from and comes out at the bits that the middle one of those has. A bit that is read while
// it is written is undefined; here it comes out inverted, so that a design that depends on it is noticed. For that,
// both ports are taken to have the same clock.
// Not modelled: INIT_FILE; the cells whose clocks are inverted.

/* verilator lint_off WIDTH */
module SB_RAM40_4K #(
    parameter WRITE_MODE = 0, parameter READ_MODE = 0, parameter INIT_FILE = "",
    parameter [255:0] INIT_0 = 0, parameter [255:0] INIT_1 = 0, parameter [255:0] INIT_2 = 0, parameter [255:0] INIT_3 = 0,
    parameter [255:0] INIT_4 = 0, parameter [255:0] INIT_5 = 0, parameter [255:0] INIT_6 = 0, parameter [255:0] INIT_7 = 0,
    parameter [255:0] INIT_8 = 0, parameter [255:0] INIT_9 = 0, parameter [255:0] INIT_A = 0, parameter [255:0] INIT_B = 0,
    parameter [255:0] INIT_C = 0, parameter [255:0] INIT_D = 0, parameter [255:0] INIT_E = 0, parameter [255:0] INIT_F = 0
) (
    input RCLK, RCLKE, RE, WCLK, WCLKE, WE,
    input [10:0] RADDR, WADDR,
    input [15:0] MASK, WDATA,
    output reg [15:0] RDATA
);
    localparam WRITE_PARTS = 1 << WRITE_MODE;
    localparam READ_PARTS = 1 << READ_MODE;
    localparam [4095:0] IMAGE = {
        INIT_F, INIT_E, INIT_D, INIT_C, INIT_B, INIT_A, INIT_9, INIT_8,
        INIT_7, INIT_6, INIT_5, INIT_4, INIT_3, INIT_2, INIT_1, INIT_0};

    reg [15:0] memory [0:255];
    integer index;
    initial begin
        if (INIT_FILE != "") begin
            $display("SB_RAM40_4K: this model has no INIT_FILE");
            $finish;
        end
        for (index = 0; index < 256; index = index + 1) memory[index] = IMAGE[index * 16 +: 16];
    end

    // Where the pins of a part are in it, and which part an address means.
    function integer pin(input integer parts);
        pin = parts == 1 ? 0 : parts / 2 - 1;
    endfunction
    wire [2:0] write_part = WADDR[10:8] & (WRITE_PARTS - 1);
    wire [2:0] read_part = RADDR[10:8] & (READ_PARTS - 1);

    // The bits of the whole word that are written, and what with.
    reg [15:0] written, data;
    integer write_bit;
    always @* begin
        for (write_bit = 0; write_bit < 16; write_bit = write_bit + 1) begin
            data[write_bit] = WDATA[write_bit / WRITE_PARTS * WRITE_PARTS + pin(WRITE_PARTS)];
            written[write_bit] = WE & WCLKE
                & (WRITE_MODE == 0 ? !MASK[write_bit] : write_bit % WRITE_PARTS == write_part);
        end
    end

    wire [15:0] stored = memory[RADDR[7:0]] ^ (RADDR[7:0] == WADDR[7:0] ? written : 16'd0);
    reg [15:0] part;
    integer read_bit;
    always @* begin
        part = 16'd0;
        for (read_bit = 0; read_bit < 16; read_bit = read_bit + READ_PARTS)
            part[read_bit + pin(READ_PARTS)] = stored[read_bit + read_part];
    end

    always @(posedge WCLK) memory[WADDR[7:0]] <= (memory[WADDR[7:0]] & ~written) | (data & written);
    always @(posedge RCLK) if (RE & RCLKE) RDATA <= part;
endmodule
