"""FPGA boards: device budgets, synthesis, place and route, bitstreams."""
