"""The page where one points at a pixel and sees where it looks, served or as one HTML file.

Only `app.py` and `guard.py` import the web framework.
"""
