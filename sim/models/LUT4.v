// Simulation model of Lattice ECP5's look-up table, after yosys' techlibs/lattice: Z = INIT[{D, C, B, A}].

module LUT4 #(parameter [15:0] INIT = 16'h0000) (input A, B, C, D, output Z);
    assign Z = INIT[{D, C, B, A}];
endmodule
