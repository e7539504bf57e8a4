// Simulation model of Lattice ECP5's carry cell: two LUT4 on a carry chain. Written after the formulas of yosys'
// techlibs/lattice and Lattice TN-02200 (slice in ripple mode). Z = INIT[{D, C, B, A}] is the propagate signal, the sum
// without carry; G = INIT[{0, 0, B, A}] is the carry out where Z is 0. INJECT1_x = "YES" (an arithmetic LUT pair
// without carry) is not modelled; a design that asks for it stops at once.

module CCU2C #(
    parameter [15:0] INIT0 = 16'h0000, parameter [15:0] INIT1 = 16'h0000,
    parameter INJECT1_0 = "YES", parameter INJECT1_1 = "YES"
) (
    input CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    output S0, S1, COUT
);
    initial begin
        if (INJECT1_0 != "NO" || INJECT1_1 != "NO") begin
            $display("CCU2C: this model has INJECT1_0 and INJECT1_1 of NO only");
            $finish;
        end
    end

    wire z0 = INIT0[{D0, C0, B0, A0}];
    wire z1 = INIT1[{D1, C1, B1, A1}];
    wire carry = z0 ? CIN : INIT0[{2'b00, B0, A0}];
    assign S0 = z0 ^ CIN;
    assign S1 = z1 ^ carry;
    assign COUT = z1 ? carry : INIT1[{2'b00, B1, A1}];
endmodule
