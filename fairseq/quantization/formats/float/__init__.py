"""Formats with an exponent for each value: levels lie the closer, the smaller they are."""
