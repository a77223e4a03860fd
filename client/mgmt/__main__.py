"""`python -m mgmt`."""

from mgmt.cli.main import run

if __name__ == "__main__":
    run()
