"""Packaging entry, `pip install -c constraints.txt .`; what is installed is described in `pyproject.toml`."""

from setuptools import setup

setup()
