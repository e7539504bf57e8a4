"""The host link: its wire format, and the drivers that speak it. Needs no other part of Heddle, and no FPGA tools."""
