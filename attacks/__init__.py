"""What an honest-but-curious server can do with what it received; knows nothing of the experiment around it."""
