"""`sockd send`: files and folders to a file receiver, several at once, resumed after every break."""
