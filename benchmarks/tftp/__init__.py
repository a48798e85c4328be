"""Cost of receiving files by TFTP: sockd beside tftpy, with the same client in one run."""
