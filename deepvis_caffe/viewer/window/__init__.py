"""The viewer in an OpenCV window: the only subpackage that calls ``cv2.imshow``."""
