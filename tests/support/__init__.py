"""What test modules share; fixtures are in conftest.py."""
