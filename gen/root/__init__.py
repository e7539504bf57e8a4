"""Heddle: a quantized neural network becomes a systolic FPGA accelerator.

What ``import heddle`` gives. The stages themselves are the sub-packages ``heddle.gen`` (network file to Verilog),
``heddle.hdl`` (hardware components), ``heddle.sim`` (simulation) and ``heddle.boards`` (place and route, boards).
"""
