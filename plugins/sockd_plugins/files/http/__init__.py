"""Protocol `http`: PUT, POST, forms, resumable uploads and a page for browsers, over connections."""
