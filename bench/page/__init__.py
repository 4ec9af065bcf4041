# SPDX-License-Identifier: MIT
"""A run as one HTML page with pictures, and the main pictures as PNG files.

    document   the page: `html(run)`
    plots      what is drawn of a run, and of a scenario
    charts     how: rows of ratios, bars, latency curves
    axes       from values to places, and round numbers between
    svg        elements
    style      colours, light and dark; CSS
    png        the same drawings as files, by cairosvg

The page asks for nothing from anywhere: no script, no font, no address. Every mark tells its
figures when pointed at; every figure also stands there as text, for a phone has no pointer.
"""
