"""One attack against another: paired differences, and the verdict in words."""
