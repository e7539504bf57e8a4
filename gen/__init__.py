"""From a network file to Verilog: importers, IR, passes, golden model, mapping, elaboration, command line."""
