"""Services that come with sockd. Each imports only what any other plugin may import."""
