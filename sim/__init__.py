"""Simulation of generated Verilog with cocotb, on Verilator and Icarus."""
