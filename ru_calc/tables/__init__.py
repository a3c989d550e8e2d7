"""What is tabulated, and how: splines, harmonics, and a network packed into tables."""
