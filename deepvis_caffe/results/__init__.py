"""The results folder. Only this package knows its layout, for writing and for reading.

The page's scripts build the same addresses in the browser: ``page/templates/pictures.js``.

`layout`
    Every name in the folder, how it is written and how it is read back.
`records`
    The JSON beside each picture, checked as it is read.
`recipes`
    Which folder of a layer holds the images of which recipe, and which of them is shown.
`store`, `top_store`, `scan_folder`
    What writes optimized images, top images and scans, and knows which of them are finished.
`index`
    Everything in a folder, for the gallery page.
`layer_files`
    The pictures of one layer, for the viewer.
"""
