"""Drive an accelerator over a byte stream: a board's serial port, or anything that stands in for one."""
