// Simulation model of iCE40UP's SB_MAC16, as far as Heddle uses it: O = A * B, each operand signed if A_SIGNED /
// B_SIGNED is 1, with optional registers of the operands and of the product. Written after the ports and parameters of
// Yosys' techlibs/ice40 (SB_MAC16) and Lattice FPGA-TN-02007. Not modelled: 8 x 8 mode, adders, accumulators, cascades,
// hold and reset; a design that asks for one of them stops at once.

module SB_MAC16 #(
    parameter [0:0] NEG_TRIGGER = 0,
    parameter [0:0] C_REG = 0, parameter [0:0] A_REG = 0, parameter [0:0] B_REG = 0, parameter [0:0] D_REG = 0,
    parameter [0:0] TOP_8x8_MULT_REG = 0, parameter [0:0] BOT_8x8_MULT_REG = 0,
    parameter [0:0] PIPELINE_16x16_MULT_REG1 = 0, parameter [0:0] PIPELINE_16x16_MULT_REG2 = 0,
    parameter [1:0] TOPOUTPUT_SELECT = 0, parameter [1:0] TOPADDSUB_LOWERINPUT = 0,
    parameter [0:0] TOPADDSUB_UPPERINPUT = 0, parameter [1:0] TOPADDSUB_CARRYSELECT = 0,
    parameter [1:0] BOTOUTPUT_SELECT = 0, parameter [1:0] BOTADDSUB_LOWERINPUT = 0,
    parameter [0:0] BOTADDSUB_UPPERINPUT = 0, parameter [1:0] BOTADDSUB_CARRYSELECT = 0,
    parameter [0:0] MODE_8x8 = 0, parameter [0:0] A_SIGNED = 0, parameter [0:0] B_SIGNED = 0
) (
    input CLK, input CE,
    input [15:0] C, input [15:0] A, input [15:0] B, input [15:0] D,
    input AHOLD, input BHOLD, input CHOLD, input DHOLD,
    input IRSTTOP, input IRSTBOT, input ORSTTOP, input ORSTBOT, input OLOADTOP, input OLOADBOT,
    input ADDSUBTOP, input ADDSUBBOT, input OHOLDTOP, input OHOLDBOT,
    input CI, input ACCUMCI, input SIGNEXTIN,
    output [31:0] O, output CO, output ACCUMCO, output SIGNEXTOUT
);
    reg [15:0] a_registered = 0, b_registered = 0;
    reg [31:0] product_registered = 0;

    initial begin
        if (TOPOUTPUT_SELECT != 3 || BOTOUTPUT_SELECT != 3 || MODE_8x8 || NEG_TRIGGER || PIPELINE_16x16_MULT_REG1) begin
            $display("SB_MAC16: a mode that the model does not have");
            $finish;
        end
    end

    wire [15:0] a = A_REG ? a_registered : A;
    wire [15:0] b = B_REG ? b_registered : B;
    wire signed [16:0] a_extended = {A_SIGNED & a[15], a};
    wire signed [16:0] b_extended = {B_SIGNED & b[15], b};
    wire signed [33:0] product = a_extended * b_extended;

    always @(posedge CLK) if (CE) begin
        a_registered <= A;
        b_registered <= B;
        product_registered <= product[31:0];
    end

    assign O = PIPELINE_16x16_MULT_REG2 ? product_registered : product[31:0];
    assign CO = 1'b0, ACCUMCO = 1'b0, SIGNEXTOUT = 1'b0;
endmodule
