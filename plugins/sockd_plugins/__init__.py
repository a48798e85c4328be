"""The services that come with sockd. Each uses only what a stranger's plugin may use."""
