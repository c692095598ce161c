"""What the scripts of this directory share. `./test` runs the scripts, and nothing in here."""
