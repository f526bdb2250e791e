"""The results folder. Only this package knows its layout, for writing and for reading.

The page's scripts build the same URLs in the browser: ``page/templates/pictures.js``.

`layout`
    Formats and parses every file name in the folder.
`records`
    The JSON record beside each picture, validated when it is read.
`recipes`
    The folders of a layer, one for each recipe, and which recipe is shown.
`store`, `top_store`, `scan_folder`
    Write optimized images, top images and scans, and know which of them are finished.
`index`
    Everything in a folder, for the gallery page.
`layer_files`
    The pictures of one layer, for the viewer.
"""
