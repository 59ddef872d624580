"""Tests of `promptlathe.serve`."""
