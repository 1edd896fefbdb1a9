"""The page where the visitor points at a pixel and sees where it looks: served, or exported.

Only `app.py` and `security.py` import the web framework.
"""
