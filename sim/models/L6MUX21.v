// Simulation model of the multiplexer behind two PFUMX or L6MUX21 of ECP5, after yosys' techlibs/lattice.

module L6MUX21 (input D0, D1, SD, output Z);
    assign Z = SD ? D1 : D0;
endmodule
