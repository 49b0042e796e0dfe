"""From numbers to intervals and tests."""
