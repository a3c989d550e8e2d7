"""Results as tables, figures and files."""
