"""People who come and go: nobody misses or doubles an acknowledged message, whatever client they have."""
