// Simulation model of Lattice ECP5's 18 x 18 multiplier, as far as Heddle uses it: P = A * B, each operand signed if
// SIGNEDA / SIGNEDB is 1, with optional input, pipeline and output registers. Written after the ports and parameters
// of Yosys' techlibs/lattice (MULT18X18D) and Lattice TN-02205. Not modelled: input C, cascades (SOURCEA, SOURCEB,
// SRI, SRO, RO outputs), asynchronous reset, MULT_BYPASS; a design that asks for one of them stops at once.

module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE",   parameter REG_INPUTA_CE = "CE0",   parameter REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE",   parameter REG_INPUTB_CE = "CE0",   parameter REG_INPUTB_RST = "RST0",
    parameter REG_INPUTC_CLK = "NONE",   parameter REG_INPUTC_CE = "CE0",   parameter REG_INPUTC_RST = "RST0",
    parameter REG_PIPELINE_CLK = "NONE", parameter REG_PIPELINE_CE = "CE0", parameter REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE",   parameter REG_OUTPUT_CE = "CE0",   parameter REG_OUTPUT_RST = "RST0",
    parameter CLK0_DIV = "ENABLED", parameter CLK1_DIV = "ENABLED",
    parameter CLK2_DIV = "ENABLED", parameter CLK3_DIV = "ENABLED",
    parameter HIGHSPEED_CLK = "NONE", parameter GSR = "ENABLED", parameter CAS_MATCH_REG = "FALSE",
    parameter SOURCEB_MODE = "B_SHIFT", parameter MULT_BYPASS = "DISABLED", parameter RESETMODE = "SYNC"
) (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0,
    output SIGNEDP
);
    wire [18:0] a, b;
    wire [36:0] product, p;

    initial begin
        if (MULT_BYPASS != "DISABLED" || RESETMODE != "SYNC" || REG_INPUTC_CLK != "NONE" || HIGHSPEED_CLK != "NONE") begin
            $display("MULT18X18D: this model has no MULT_BYPASS, RESETMODE ASYNC, input C or HIGHSPEED_CLK");
            $finish;
        end
    end

    // Each register: bit 18 (36) carries the sign mode beside the value, as in the device.
    MULT18X18D_stage #(.WIDTH(19), .CLK(REG_INPUTA_CLK), .CE(REG_INPUTA_CE), .RST(REG_INPUTA_RST)) input_a (
        .clk({CLK3, CLK2, CLK1, CLK0}), .ce({CE3, CE2, CE1, CE0}), .rst({RST3, RST2, RST1, RST0}),
        .d({SIGNEDA, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0}), .q(a));
    MULT18X18D_stage #(.WIDTH(19), .CLK(REG_INPUTB_CLK), .CE(REG_INPUTB_CE), .RST(REG_INPUTB_RST)) input_b (
        .clk({CLK3, CLK2, CLK1, CLK0}), .ce({CE3, CE2, CE1, CE0}), .rst({RST3, RST2, RST1, RST0}),
        .d({SIGNEDB, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0}), .q(b));

    // One multiplier serves all four sign modes: an unsigned operand gets a zero as its 19th bit, a signed one its sign.
    wire signed [18:0] a_wide = {a[18] & a[17], a[17:0]};
    wire signed [18:0] b_wide = {b[18] & b[17], b[17:0]};
    wire signed [37:0] wide = a_wide * b_wide;

    MULT18X18D_stage #(.WIDTH(37), .CLK(REG_PIPELINE_CLK), .CE(REG_PIPELINE_CE), .RST(REG_PIPELINE_RST)) pipeline (
        .clk({CLK3, CLK2, CLK1, CLK0}), .ce({CE3, CE2, CE1, CE0}), .rst({RST3, RST2, RST1, RST0}),
        .d({a[18] | b[18], wide[35:0]}), .q(product));
    MULT18X18D_stage #(.WIDTH(37), .CLK(REG_OUTPUT_CLK), .CE(REG_OUTPUT_CE), .RST(REG_OUTPUT_RST)) result (
        .clk({CLK3, CLK2, CLK1, CLK0}), .ce({CE3, CE2, CE1, CE0}), .rst({RST3, RST2, RST1, RST0}),
        .d(product), .q(p));

    assign {SIGNEDP,
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
        P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;
endmodule

// One optional register of the primitive: a wire if CLK is "NONE", else clocked, enabled and reset as its names say.
module MULT18X18D_stage #(
    parameter WIDTH = 1, parameter CLK = "NONE", parameter CE = "CE0", parameter RST = "RST0"
) (
    input [3:0] clk, ce, rst,
    input [WIDTH-1:0] d,
    output [WIDTH-1:0] q
);
    localparam CLK_INDEX = CLK == "CLK3" ? 3 : CLK == "CLK2" ? 2 : CLK == "CLK1" ? 1 : 0;
    localparam CE_INDEX = CE == "CE3" ? 3 : CE == "CE2" ? 2 : CE == "CE1" ? 1 : 0;
    localparam RST_INDEX = RST == "RST3" ? 3 : RST == "RST2" ? 2 : RST == "RST1" ? 1 : 0;

    generate
        if (CLK == "NONE") begin : transparent
            assign q = d;
        end else begin : registered
            reg [WIDTH-1:0] state = 0;
            always @(posedge clk[CLK_INDEX])
                if (rst[RST_INDEX]) state <= 0;
                else if (ce[CE_INDEX]) state <= d;
            assign q = state;
        end
    endgenerate
endmodule
