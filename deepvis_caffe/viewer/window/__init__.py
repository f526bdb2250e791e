"""The viewer in an OpenCV window: the only room that knows ``cv2.imshow``."""
