"""What a CT shows: hollows of the body, the lumen among them and a way through, where it is collapsed, tagged fluid.

Works on a `Volume`, wherever that came from. Millimetres and millilitres, never voxels, in every rule.
"""
