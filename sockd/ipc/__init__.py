"""What supervisor and worker say to each other, and the processes that one starts for the other."""
