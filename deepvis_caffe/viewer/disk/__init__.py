"""Reading the results folder for the viewer, and saving its screenshots and videos."""
