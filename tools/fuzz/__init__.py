"""Damages files of every format that certflow reads again, many times, and tells whether any change went unnoticed."""
