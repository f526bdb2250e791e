"""The experiments of Yosinski et al. 2015, each in a module.

`sweep`
    Each regularizer by itself, from none to too strong (`deepvis sweep`).
`search`
    300 random regularizations (`deepvis search`).
`contact_sheet`
    The page and the picture to choose from a search.
`presets`
    Presets side by side for one unit (`deepvis presets`).
`first_layer`
    First-layer filters: edges and blobs, frequency and activation (`deepvis filters`).
`sensitivity`
    How much each layer moves under small changes of the input (`deepvis sensitivity`).
`variants`
    Runs under many sets of parameters: the base of `sweep`, `search` and `presets`.
"""
