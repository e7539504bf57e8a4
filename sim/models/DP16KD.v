// Simulation model of Lattice ECP5's 18 Kbit block RAM, as far as yosys and Heddle use it: true dual port of 1 to 18
// bits, and simple dual port of 36, with optional output registers. Written after the ports and parameters of yosys'
// techlibs/lattice and Lattice TN-02204 (ECP5 memory usage).
//
// The memory is 2048 bytes of nine bits; words of 1, 2 and 4 bits lie in the lower eight. A 36-bit word is written at
// port A through {DIB, DIA} and read by port B through {DOB, DOA}. From 18 bits on, the lowest address bits of a write
// are byte enables. A bit that one port reads while the other writes it is undefined in the device; here it comes out
// inverted, so that a design that depends on it is noticed. For that, both ports are taken to have the same clock.
// Not modelled: both ports writing one byte at once; output registers whose enable is not the port's.

/* verilator lint_off WIDTH */
/* verilator lint_off MULTIDRIVEN */
/* verilator lint_off BLKSEQ */
module DP16KD #(
    parameter DATA_WIDTH_A = 18, parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG", parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", parameter ASYNC_RESET_RELEASE = "SYNC",
    parameter CSDECODE_A = "0b000", parameter CSDECODE_B = "0b000",
    parameter WRITEMODE_A = "NORMAL", parameter WRITEMODE_B = "NORMAL",
    parameter CLKAMUX = "CLKA", parameter CLKBMUX = "CLKB", parameter GSR = "ENABLED", parameter INIT_DATA = "STATIC",
    parameter [319:0] INITVAL_00 = 0, parameter [319:0] INITVAL_01 = 0,
    parameter [319:0] INITVAL_02 = 0, parameter [319:0] INITVAL_03 = 0,
    parameter [319:0] INITVAL_04 = 0, parameter [319:0] INITVAL_05 = 0,
    parameter [319:0] INITVAL_06 = 0, parameter [319:0] INITVAL_07 = 0,
    parameter [319:0] INITVAL_08 = 0, parameter [319:0] INITVAL_09 = 0,
    parameter [319:0] INITVAL_0A = 0, parameter [319:0] INITVAL_0B = 0,
    parameter [319:0] INITVAL_0C = 0, parameter [319:0] INITVAL_0D = 0,
    parameter [319:0] INITVAL_0E = 0, parameter [319:0] INITVAL_0F = 0,
    parameter [319:0] INITVAL_10 = 0, parameter [319:0] INITVAL_11 = 0,
    parameter [319:0] INITVAL_12 = 0, parameter [319:0] INITVAL_13 = 0,
    parameter [319:0] INITVAL_14 = 0, parameter [319:0] INITVAL_15 = 0,
    parameter [319:0] INITVAL_16 = 0, parameter [319:0] INITVAL_17 = 0,
    parameter [319:0] INITVAL_18 = 0, parameter [319:0] INITVAL_19 = 0,
    parameter [319:0] INITVAL_1A = 0, parameter [319:0] INITVAL_1B = 0,
    parameter [319:0] INITVAL_1C = 0, parameter [319:0] INITVAL_1D = 0,
    parameter [319:0] INITVAL_1E = 0, parameter [319:0] INITVAL_1F = 0,
    parameter [319:0] INITVAL_20 = 0, parameter [319:0] INITVAL_21 = 0,
    parameter [319:0] INITVAL_22 = 0, parameter [319:0] INITVAL_23 = 0,
    parameter [319:0] INITVAL_24 = 0, parameter [319:0] INITVAL_25 = 0,
    parameter [319:0] INITVAL_26 = 0, parameter [319:0] INITVAL_27 = 0,
    parameter [319:0] INITVAL_28 = 0, parameter [319:0] INITVAL_29 = 0,
    parameter [319:0] INITVAL_2A = 0, parameter [319:0] INITVAL_2B = 0,
    parameter [319:0] INITVAL_2C = 0, parameter [319:0] INITVAL_2D = 0,
    parameter [319:0] INITVAL_2E = 0, parameter [319:0] INITVAL_2F = 0,
    parameter [319:0] INITVAL_30 = 0, parameter [319:0] INITVAL_31 = 0,
    parameter [319:0] INITVAL_32 = 0, parameter [319:0] INITVAL_33 = 0,
    parameter [319:0] INITVAL_34 = 0, parameter [319:0] INITVAL_35 = 0,
    parameter [319:0] INITVAL_36 = 0, parameter [319:0] INITVAL_37 = 0,
    parameter [319:0] INITVAL_38 = 0, parameter [319:0] INITVAL_39 = 0,
    parameter [319:0] INITVAL_3A = 0, parameter [319:0] INITVAL_3B = 0,
    parameter [319:0] INITVAL_3C = 0, parameter [319:0] INITVAL_3D = 0,
    parameter [319:0] INITVAL_3E = 0, parameter [319:0] INITVAL_3F = 0
) (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire clka = CLKA ^ (CLKAMUX == "INV");
    wire clkb = CLKB ^ (CLKBMUX == "INV");
    wire ena = CEA & ~(CSA2 | CSA1 | CSA0);
    wire enb = CEB & ~(CSB2 | CSB1 | CSB0);
    wire async_a = RSTA & (RESETMODE == "ASYNC");
    wire async_b = RSTB & (RESETMODE == "ASYNC");

    // A row of 20 bits of an INITVAL holds two bytes in its lower 18.
    localparam [20479:0] IMAGE = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
        INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
        INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
        INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};

    reg [8:0] bytes [0:2047];
    integer index;
    initial begin
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") begin
            $display("DP16KD: this model has chip selects of 0b000 only");
            $finish;
        end
        for (index = 0; index < 2048; index = index + 1)
            bytes[index] = IMAGE[(index / 2) * 20 + (index % 2) * 9 +: 9];
    end

    // Where the word at an address begins, and which of the four bytes from there are written.
    function [10:0] first(input [13:0] address, input integer width);
        first = width == 36 ? {address[13:5], 2'b00} : width == 18 ? {address[13:4], 1'b0} : address[13:3];
    endfunction
    function [3:0] lanes(input [13:0] address, input integer width);
        lanes = width == 36 ? address[3:0] : width == 18 ? {2'b00, address[1:0]} : 4'b0001;
    endfunction
    // Which bits of the first byte a word narrower than nine bits has, and how far it is from the lowest.
    function [3:0] offset(input [13:0] address, input integer width);
        offset = width == 1 ? address[2:0] : width == 2 ? {address[2:1], 1'b0} : width == 4 ? {address[2], 2'b00} : 0;
    endfunction
    function [8:0] mask(input integer width);
        mask = width >= 9 ? 9'h1ff : (9'd1 << width) - 9'd1;
    endfunction

    wire [3:0] writes_a = ena & WEA ? lanes(ada, DATA_WIDTH_A) : 4'b0000;
    wire [3:0] writes_b = enb & WEB ? lanes(adb, DATA_WIDTH_B) : 4'b0000;
    wire [10:0] first_a = first(ada, DATA_WIDTH_A);
    wire [10:0] first_b = first(adb, DATA_WIDTH_B);
    wire [8:0] mask_a = mask(DATA_WIDTH_A);
    wire [8:0] mask_b = mask(DATA_WIDTH_B);
    wire [3:0] offset_a = offset(ada, DATA_WIDTH_A);
    wire [3:0] offset_b = offset(adb, DATA_WIDTH_B);
    wire [35:0] data_a = {dib, dia};
    wire [35:0] data_b = {18'd0, dib};

    // Those bits of a byte that the other port is writing.
    function [8:0] spoilt(input [10:0] at, input [10:0] start, input [3:0] written, input [8:0] bits);
        // An unused port may have an unknown address.
        if (written == 0) spoilt = 0;
        else spoilt = at - start < 4 && written[(at - start) & 3] ? bits : 9'd0;
    endfunction

    reg [35:0] word_a = 0, word_b = 0, out_a = 0, out_b = 0;
    reg [10:0] at_a, at_b;
    reg [8:0] new_a, new_b;
    integer lane_a, lane_b;

    always @(posedge clka or posedge async_a) begin
        if (async_a) word_a <= 0;
        else begin
            for (lane_a = 0; lane_a < 4; lane_a = lane_a + 1) begin
                at_a = first_a + lane_a;
                if (ena && (!WEA || WRITEMODE_A == "READBEFOREWRITE"))
                    word_a[lane_a * 9 +: 9] <=
                        ((bytes[at_a] ^ spoilt(at_a, first_b, writes_b, mask_b << offset_b)) >> offset_a) & mask_a;
                if (writes_a[lane_a]) begin
                    new_a = data_a[lane_a * 9 +: 9] & mask_a;
                    bytes[at_a] <= (bytes[at_a] & ~(mask_a << offset_a)) | (new_a << offset_a);
                    if (WRITEMODE_A == "WRITETHROUGH") word_a[lane_a * 9 +: 9] <= new_a;
                end
            end
            if (RSTA) word_a <= 0;
        end
    end

    always @(posedge clkb or posedge async_b) begin
        if (async_b) word_b <= 0;
        else begin
            for (lane_b = 0; lane_b < 4; lane_b = lane_b + 1) begin
                at_b = first_b + lane_b;
                if (enb && (!WEB || WRITEMODE_B == "READBEFOREWRITE"))
                    word_b[lane_b * 9 +: 9] <=
                        ((bytes[at_b] ^ spoilt(at_b, first_a, writes_a, mask_a << offset_a)) >> offset_b) & mask_b;
                if (writes_b[lane_b]) begin
                    new_b = data_b[lane_b * 9 +: 9] & mask_b;
                    bytes[at_b] <= (bytes[at_b] & ~(mask_b << offset_b)) | (new_b << offset_b);
                    if (WRITEMODE_B == "WRITETHROUGH") word_b[lane_b * 9 +: 9] <= new_b;
                end
            end
            if (RSTB) word_b <= 0;
        end
    end

    always @(posedge clka or posedge async_a)
        if (async_a) out_a <= 0;
        else if (RSTA) out_a <= 0;
        else if (OCEA) out_a <= word_a;

    always @(posedge clkb or posedge async_b)
        if (async_b) out_b <= 0;
        else if (RSTB) out_b <= 0;
        else if (OCEB) out_b <= word_b;

    wire [35:0] read_a = REGMODE_A == "OUTREG" ? out_a : word_a;
    wire [35:0] read_b = REGMODE_B == "OUTREG" ? out_b : word_b;
    wire wide_read = DATA_WIDTH_B == 36;
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} =
        wide_read ? read_b[17:0] : read_a[17:0];
    // When only the write port is 36 bits wide, a word of up to 18 bits comes out at port B.
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} =
        wide_read ? read_b[35:18] : read_b[17:0];
endmodule
