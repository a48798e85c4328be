"""Cost of receiving files by TFTP: sockd beside tftpy and a bare loop, with the same client in one run."""
