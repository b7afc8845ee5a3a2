"""The matrix of planted bugs: chaos/matrix/README.md."""
