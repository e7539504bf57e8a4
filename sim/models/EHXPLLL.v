// Simulation model of Lattice ECP5's PLL, as far as a netlist without time needs it: CLKOP is CLKI, whatever the
// dividers, and LOCK rises once that has been a clock for a while. Written after the ports of yosys' techlibs/lattice.
// What runs on CLKOP must not depend on its frequency; nextpnr has checked that it can be what the dividers say.
// Not modelled: other outputs, phase shifts, standby and reset; a design that asks for another output stops at once.

module EHXPLLL #(
    parameter CLKI_DIV = 1, parameter CLKFB_DIV = 1,
    parameter CLKOP_DIV = 8, parameter CLKOS_DIV = 8, parameter CLKOS2_DIV = 8, parameter CLKOS3_DIV = 8,
    parameter CLKOP_ENABLE = "ENABLED", parameter CLKOS_ENABLE = "DISABLED",
    parameter CLKOS2_ENABLE = "DISABLED", parameter CLKOS3_ENABLE = "DISABLED",
    parameter CLKOP_CPHASE = 0, parameter CLKOS_CPHASE = 0, parameter CLKOS2_CPHASE = 0, parameter CLKOS3_CPHASE = 0,
    parameter FEEDBK_PATH = "CLKOP"
) (
    input CLKI, CLKFB, PHASESEL1, PHASESEL0, PHASEDIR, PHASESTEP, PHASELOADREG, STDBY, PLLWAKESYNC, RST,
    input ENCLKOP, ENCLKOS, ENCLKOS2, ENCLKOS3,
    output CLKOP, CLKOS, CLKOS2, CLKOS3, LOCK, INTLOCK, REFCLK, CLKINTFB
);
    // More than a reset by hand takes in simulation, so that it is the PLL that ends the design's.
    localparam LOCK_CLOCKS = 24;
    reg [4:0] clocks = 0;

    initial begin
        if (CLKOS_ENABLE != "DISABLED" || CLKOS2_ENABLE != "DISABLED" || CLKOS3_ENABLE != "DISABLED") begin
            $display("EHXPLLL: this model has the output CLKOP only");
            $finish;
        end
    end

    always @(posedge CLKI)
        if (!LOCK) clocks <= clocks + 5'd1;

    assign LOCK = clocks == LOCK_CLOCKS;
    assign CLKOP = CLKI;
    assign CLKOS = 1'b0, CLKOS2 = 1'b0, CLKOS3 = 1'b0, INTLOCK = LOCK, REFCLK = CLKI, CLKINTFB = 1'b0;
endmodule
