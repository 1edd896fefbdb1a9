"""Claims about SAGAN, measured at a size that one computer can run: `sagan study`.

A study is a table of variants and seeds. Each run leaves one small result; reports, intervals and
verdicts are made from the results alone.
"""
