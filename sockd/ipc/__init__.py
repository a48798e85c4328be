"""Messages between supervisor and worker, and the processes of workers."""
