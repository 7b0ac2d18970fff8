"""How light travels: from the camera, along a ray to its next event, what happens there, and from the lights.

Both path tracers are made of these functions; a change here must leave them equal by z-test.
"""
