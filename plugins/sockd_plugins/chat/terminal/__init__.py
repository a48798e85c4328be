"""Chat in plain text: `lines` over connections, `datagrams` over UDP and UNIX datagrams."""
