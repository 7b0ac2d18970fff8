"""DICOM in: `series` (which files make a volume) › `parsing` › `slices` › `stored` › `pixels` › `stack`.

What a header says is believed only where it was checked. Compressed frames are decoded in a process of its own
(`decoder`), since a damaged one may kill it. No text of a header leaves this room.
"""
