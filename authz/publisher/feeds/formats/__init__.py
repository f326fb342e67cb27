"""The formats of feeds, one module for each family. Which one a file has is found by `feeds/detect`.

plain lines proxies     a network or range a line; `ip:port` and URLs of proxies
columns tables records  CSV and other tables; JSON lines; which of their columns counts
json_documents          one JSON document, of one of the shapes below
clouds                  AWS, Google, Azure, Oracle, Cloudflare, Fastly
json_lists              MISP, crawlers, networks of a country, arrays of texts or objects
json_walk               how any of them is walked
"""
