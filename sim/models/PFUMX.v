// Simulation model of the multiplexer behind the two look-up tables of an ECP5 slice, after yosys' techlibs/lattice.

module PFUMX (input ALUT, BLUT, C0, output Z);
    assign Z = C0 ? ALUT : BLUT;
endmodule
