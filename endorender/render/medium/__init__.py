"""What tissue is on the device: the field of HU or extinction, its look-ups, local majorants, tables, wall and vessels.

A new property of tissue gets its column in `table`, its flag in `traits` and its look-up in `field`. Light is unknown
here.
"""
