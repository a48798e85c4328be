"""Protocol `tftp` over datagrams: write requests, their blocks, and the transfers that they make up."""
