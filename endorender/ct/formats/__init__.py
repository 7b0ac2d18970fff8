"""The other formats: `detect` says what a file is; NIfTI, NRRD and MetaImage are read here.

Another format is one file and a line in `detect`. What is read must be checked against `limits` first.
"""
