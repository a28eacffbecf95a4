"""The live page: what a scan is doing, in a browser, by a process of its own that only reads.

What a view shows is a value, made from documents and files by `now`, `frame_view`, `pattern_view` and `tomo_view`; the
widgets of `page` and of the modules beside it only draw it.
"""
