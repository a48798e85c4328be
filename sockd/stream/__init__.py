"""Shell around a stream: from the accepted socket to the plugin's protocol, and to its end."""
