"""Fitting a potential to labelled frames."""
